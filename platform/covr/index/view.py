"""A snapshot with changes on top: clips that were added or replaced, and clips that were removed. Immutable.

Shapes: Q queries, E added clips, D dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from covr import tables
from covr.client.filters import Node
from covr.index.exact import top_k
from covr.index.filters import matches
from covr.index.parts import Manifest
from covr.index.snapshot import Ranked, Snapshot, unit
from covr.storage.place import fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One added clip."""

    clip: dict[str, Any]
    """Its row of the clips table."""
    vector_D: np.ndarray
    """Target vector, float32; unit length where similarity is cosine."""
    feature: np.ndarray
    """What the query side reads of it, float32."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What is searched: `snapshot` without `removed`, and `added`, which are none of the snapshot's clips left over."""

    snapshot: Snapshot
    added: Mapping[str, Entry] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    """Clips of the snapshot that are gone or replaced."""
    changes: int = 0
    """Since the snapshot was built."""

    @property
    def manifest(self) -> Manifest:
        """The snapshot's."""
        return self.snapshot.manifest

    @property
    def fingerprint(self) -> str:
        """Of the snapshot, and of the number of changes since."""
        return fingerprint(self.snapshot.fingerprint, self.changes) if self.changes else self.snapshot.fingerprint

    def put(self, entry: Entry) -> View:
        """With a clip added, or replaced."""
        clip_id = entry.clip["clip_id"]
        added = dict(sorted({**self.added, clip_id: entry}.items()))  # equal scores are ordered by id
        return View(snapshot=self.snapshot, added=added, removed=self._without(clip_id), changes=self.changes + 1)

    def remove(self, clip_id: str) -> View:
        """Without a clip; KeyError where it is not there."""
        if clip_id not in self:
            raise KeyError(clip_id)
        added = {name: entry for name, entry in self.added.items() if name != clip_id}
        return View(snapshot=self.snapshot, added=added, removed=self._without(clip_id), changes=self.changes + 1)

    def _without(self, clip_id: str) -> frozenset[str]:
        return self.removed | {clip_id} if clip_id in self.snapshot else self.removed

    def __len__(self) -> int:
        return len(self.snapshot) - len(self.removed) + len(self.added)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self.added or (clip_id in self.snapshot and clip_id not in self.removed)

    @cached_property
    def clip_ids(self) -> list[str]:
        """All ids: the snapshot's in its order, then those added."""
        return [*(name for name in self.snapshot.clip_ids if name not in self.removed), *self.added]

    @cached_property
    def _clips(self) -> pa.Table:
        return tables.from_rows("clips", [entry.clip for entry in self.added.values()])

    @cached_property
    def _vectors_ED(self) -> np.ndarray:
        return np.stack([entry.vector_D for entry in self.added.values()])

    def vector(self, clip_id: str) -> np.ndarray:
        """The target vector (D,) of a clip."""
        if clip_id in self.added:
            return self.added[clip_id].vector_D
        return self.snapshot.vectors_ND[self.snapshot.row(clip_id)]

    def feature(self, clip_id: str) -> np.ndarray:
        """What the query side reads of a clip."""
        if clip_id in self.added:
            return self.added[clip_id].feature
        return self.snapshot.features_NF[self.snapshot.row(clip_id)]

    def describe(self, clip_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of the clips table, in the order asked for."""
        old = [clip_id for clip_id in clip_ids if clip_id not in self.added]
        rows = dict(zip(old, self.snapshot.describe(old) if old else [], strict=True))
        added = {clip_id: self.added[clip_id].clip for clip_id in clip_ids if clip_id in self.added}
        return [(rows | added)[clip_id] for clip_id in clip_ids]

    def copies(self, sha256: str) -> list[str]:
        """The clips that are a whole file of these bytes."""
        old = [clip_id for clip_id in self.snapshot.copies(sha256) if clip_id not in self.removed]
        return [*old, *(name for name, entry in self.added.items() if entry.clip["sha256"] == sha256)]

    def search(
        self,
        queries_QD: np.ndarray,
        k: int,
        exclude: Sequence[Sequence[str]],
        filters: Sequence[Node | None],
    ) -> list[Ranked]:
        """The `k` nearest clips of each query, exactly; see `Snapshot.search`."""
        gone = list(self.removed)
        base = self.snapshot.search(queries_QD, k, [[*ids, *gone] for ids in exclude], filters)
        if not self.added:
            return base
        names = np.array(list(self.added), object)
        excluded = [
            np.flatnonzero(np.isin(names, list(ids)) | (False if node is None else ~matches(self._clips, node)))
            for ids, node in zip(exclude, filters, strict=True)
        ]
        if self.manifest.similarity == "cosine":
            queries_QD = unit(queries_QD)
        found = top_k(queries_QD, self._vectors_ED, k, excluded)
        return [
            _merged(one, Ranked(scores, names[rows].tolist()), k)
            for one, (scores, rows) in zip(base, found, strict=True)
        ]


def _merged(first: Ranked, second: Ranked, k: int) -> Ranked:
    scores = np.concatenate([first.scores, second.scores])
    clip_ids = [*first.clip_ids, *second.clip_ids]
    order = sorted(range(len(clip_ids)), key=lambda row: (-scores[row], clip_ids[row]))[:k]
    return Ranked(scores[order], [clip_ids[row] for row in order])
