"""Annotations as numbers: the right answers, the galleries and the own clips of Q queries.

Q queries, M (query, right answer) pairs, C clips of the vocabulary, G rows of a gallery, R ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.errors import UserError
from covr.evaluate.lists import ABSENT, positions


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a benchmark's annotations say, with clips as positions in `vocabulary`."""

    triplets: pa.Table
    galleries: pa.Table
    vocabulary: pa.Array
    """Every clip id that is asked with, right, in a gallery or among the answers."""

    @classmethod
    def of(cls, triplets: pa.Table, galleries: pa.Table, answers: pa.ChunkedArray) -> Truth:
        """From the annotations' tables and the clip ids of the answers to judge."""
        targets = triplets["target_clips"].combine_chunks()
        chunks = [targets.flatten(), *(c for column in (triplets["query_clip"], answers) for c in column.chunks)]
        vocabulary = pc.unique(pa.concat_arrays([*galleries["clip_id"].chunks, *chunks]))
        return cls(triplets=triplets, galleries=galleries, vocabulary=vocabulary)

    def __len__(self) -> int:
        return len(self.triplets)

    @property
    def hidden(self) -> bool:
        """Whether the annotations hold no right answer at all."""
        return not len(self.triplets["target_clips"].combine_chunks().flatten())

    @cached_property
    def query_ids(self) -> pa.Array:
        return self.triplets["query_id"].combine_chunks()

    @cached_property
    def own_Q(self) -> np.ndarray:
        """The query's own clip."""
        return self.numbers(self.triplets["query_clip"])

    @cached_property
    def targets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """query_M, clip_M and grade_M of every annotated answer, a query's first one first; no grade counts as 1."""
        clips = self.triplets["target_clips"].combine_chunks()
        query_M = pc.list_parent_indices(clips).to_numpy().astype(np.int64)
        graded = self.triplets["target_grades"].to_pylist()
        sizes = pc.list_value_length(clips).to_pylist()
        grades = [grade for row, size in zip(graded, sizes, strict=True) for grade in (row or [1.0] * size)]
        return query_M, self.numbers(clips.flatten()), np.array(grades, np.float64)

    @cached_property
    def annotated_Q(self) -> np.ndarray:
        """The annotated answer of each query, the first of its targets; ABSENT where it has none."""
        query_M, clip_M, _ = self.targets
        found_Q = np.full(len(self), ABSENT)
        answered, first_M = np.unique(query_M, return_index=True)
        found_Q[answered] = clip_M[first_M]
        return found_Q

    def numbers(self, clips: pa.Array | pa.ChunkedArray) -> np.ndarray:
        return positions(clips, self.vocabulary, "an unknown clip", "annotations")

    def tag(self, name: str) -> list[str | None]:
        """A tag of each query; None where it has none."""
        return [dict(tags or ()).get(name) for tags in self.triplets["tags"].to_pylist()]

    def has_gallery(self, name: str) -> bool:
        """Whether every query names a gallery of this kind that holds clips."""
        return set(self._named(name)) <= self._members.keys()

    def gallery(self, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(queries, clips): the queries that share a gallery, and the clip numbers of its rows.

        Raises:
            UserError: a query names no gallery of this kind, or an empty one.
        """
        named = self._named(name)
        for gallery_id, of_query in zip(named, self.query_ids.to_pylist(), strict=True):
            if gallery_id not in self._members:
                fix = "put the gallery's own file beside the annotations"
                raise UserError(f"no clips of the {name} gallery are known", f"annotations: query {of_query}", fix)
        distinct, of_query_Q = np.unique(np.array(named), return_inverse=True)
        for gallery_id, rows_Q in zip(distinct.tolist(), _groups(of_query_Q), strict=True):
            yield rows_Q, self._members[gallery_id]

    def _named(self, name: str) -> list[str | None]:
        return [dict(galleries or ()).get(name) for galleries in self.triplets["galleries"].to_pylist()]

    @cached_property
    def _members(self) -> dict[str | None, np.ndarray]:
        """The clip numbers of each gallery's rows."""
        if not len(self.galleries):
            return {}
        ids = self.galleries["gallery_id"].combine_chunks().dictionary_encode()
        groups = _groups(ids.indices.to_numpy())
        clip_N = self.numbers(self.galleries["clip_id"])
        return {name: clip_N[rows] for name, rows in zip(ids.dictionary.to_pylist(), groups, strict=True)}


def _groups(code_Q: np.ndarray) -> list[np.ndarray]:
    """The positions of each code from 0 up, in ascending order of the codes."""
    order = np.argsort(code_Q, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code_Q[order])) + 1)
