"""An immutable vector index in a folder: vectors, the raw features behind them, the clips' rows, a manifest.

The folder is named by its fingerprint and its manifest is written last, so a reader finds all of it or nothing.
Loading checks every byte against the manifest before anything parses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from covr import tables
from covr.client.filters import Node
from covr.errors import UserError
from covr.index import flat_file
from covr.index.approximate import Approximate, Similarity, chosen
from covr.index.exact import top_k
from covr.index.filters import matches
from covr.index.parts import (
    CLIPS,
    FEATURES,
    MANIFEST,
    SEARCH,
    VECTORS,
    VERSION,
    Manifest,
    checked,
    npy,
    parquet,
    read_clips,
    read_features,
    read_manifest,
    read_vectors,
)
from covr.storage import Place
from covr.storage.place import fingerprint


class Ranked(NamedTuple):
    """One query's answer, best first."""

    scores: np.ndarray
    """(K,), float32."""
    clip_ids: list[str]


class Snapshot:
    """A loaded index; made by `build` or `load`.

    Attributes:
        manifest: see `Manifest`.
        fingerprint: of the manifest; the folder's name.
        vectors_ND: target vectors, float32; unit length where similarity is cosine.
        features_NF: what the query side reads of the clips, float32 (N, ...): the video side of a query by clip id.
        clips: the rows of the clips table, in the order of the vectors.

    Args:
        approximate: what searches, unless the index is exact.
    """

    def __init__(
        self,
        manifest: Manifest,
        vectors_ND: np.ndarray,
        features_NF: np.ndarray,
        clips: pa.Table,
        approximate: Approximate | None = None,
    ) -> None:
        self.manifest, self.vectors_ND, self.features_NF, self.clips = manifest, vectors_ND, features_NF, clips
        self._approximate = approximate
        self.fingerprint = fingerprint(asdict(manifest))
        self.clip_ids: list[str] = clips["clip_id"].to_pylist()
        self._rows = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        self._by_file: dict[str, list[str]] = {}
        for clip in clips.select(["clip_id", "sha256", "start_s", "end_s"]).to_pylist():
            if clip["sha256"] and clip["start_s"] is None and clip["end_s"] is None:
                self._by_file.setdefault(clip["sha256"], []).append(clip["clip_id"])

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._rows

    def row(self, clip_id: str) -> int:
        """The position of a clip among vectors, features and clips; KeyError where it is not indexed."""
        return self._rows[clip_id]

    def part(self, mine: Callable[[str], bool]) -> Snapshot:
        """The clips of which `mine` is true, copied into memory of their own, under the same fingerprint."""
        rows = [row for row, clip_id in enumerate(self.clip_ids) if mine(clip_id)]
        return Snapshot(self.manifest, self.vectors_ND[rows], self.features_NF[rows], self.clips.take(rows))

    def copies(self, sha256: str) -> list[str]:
        """The clips that are a whole file of these bytes."""
        return self._by_file.get(sha256, [])

    def describe(self, clip_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of the clips table of indexed clips, in the order asked for."""
        return self.clips.take([self._rows[clip_id] for clip_id in clip_ids]).to_pylist()

    def search(
        self,
        queries_QD: np.ndarray,
        k: int,
        exclude: Sequence[Sequence[str]] = (),
        filters: Sequence[Node | None] = (),
    ) -> list[Ranked]:
        """The `k` nearest clips of each query; as many as an exact search finds, with exact scores, of any kind.

        Args:
            queries_QD: float32; made unit length here where similarity is cosine.
            exclude: for each query the clip ids that it must not get (unknown ones are allowed); empty: none.
            filters: for each query the filter that its answers meet, or None; empty: none for any.
        """
        if self.manifest.similarity == "cosine":
            queries_QD = unit(queries_QD)
        excluded = [
            np.array([self._rows[clip_id] for clip_id in ids if clip_id in self._rows], np.int64) for ids in exclude
        ]
        if any(node is not None for node in filters):
            excluded = excluded or [np.empty(0, np.int64)] * len(filters)
            excluded = [
                rows if node is None else np.union1d(rows, np.flatnonzero(~matches(self.clips, node)))
                for rows, node in zip(excluded, filters, strict=True)
            ]
        if self._approximate is None:
            found = top_k(queries_QD, self.vectors_ND, k, excluded)
        else:
            found = self._approximate.top_k(queries_QD, k, excluded)
        return [Ranked(scores, [self.clip_ids[row] for row in rows]) for scores, rows in found]

    @classmethod
    def build(
        cls,
        folder: Place,
        *,
        clips: pa.Table,
        vectors_ND: np.ndarray,
        features_NF: np.ndarray,
        similarity: Similarity,
        target_fingerprint: str,
        retriever_fingerprint: str,
        dataset_fingerprint: str,
        decoder: str,
        kind: str = "exact",
    ) -> Snapshot:
        """Write `folder/<fingerprint>/` and return what was written.

        Args:
            kind: see `covr.index.approximate`; auto: by size.

        Raises:
            UserError: no such kind, no clips, a clip twice, another number of vectors than clips, or a vector that
                cannot be ranked (not finite; zero under cosine).
        """
        clip_ids = clips["clip_id"].to_pylist()
        if not clip_ids:
            raise UserError("there is no clip to index", str(folder), "choose another test.split or index.gallery")
        if len(set(clip_ids)) != len(clip_ids):
            raise UserError("a clip is there twice", str(folder), "give each clip_id once")
        if not len(vectors_ND) == len(features_NF) == len(clip_ids):
            raise UserError(
                f"{len(clip_ids)} clips, {len(vectors_ND)} vectors, {len(features_NF)} features",
                str(folder),
                "give one vector and one feature a clip",
            )
        sound = np.isfinite(vectors_ND).all(axis=1)
        if similarity == "cosine":
            sound &= vectors_ND.any(axis=1)
        if not sound.all():
            first = clip_ids[int(np.argmin(sound))]
            raise UserError("a target vector is zero or not finite", first, "check the retriever that made it")
        vectors_ND = unit(vectors_ND) if similarity == "cosine" else vectors_ND.astype(np.float32)
        features_NF = features_NF.astype(np.float32)
        files = {VECTORS: flat_file.pack(vectors_ND), FEATURES: npy(features_NF), CLIPS: parquet(clips)}
        found, approximate, recall = chosen(kind, *vectors_ND.shape), None, None
        if found != "exact":
            approximate, recall = Approximate.build(found, vectors_ND, similarity)
            files[SEARCH] = approximate.pack()
        manifest = Manifest(
            version=VERSION,
            count=len(clip_ids),
            dim=vectors_ND.shape[1],
            similarity=similarity,
            kind=found,
            effort=approximate.effort if approximate else None,
            recall=recall,
            target_fingerprint=target_fingerprint,
            retriever_fingerprint=retriever_fingerprint,
            dataset_fingerprint=dataset_fingerprint,
            decoder=decoder,
            sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        )
        snapshot = cls(manifest, vectors_ND, features_NF, clips, approximate)
        place = folder / snapshot.fingerprint
        for name, data in files.items():
            (place / name).write_bytes(data)
        (place / MANIFEST).write_json(asdict(manifest))
        return snapshot

    @classmethod
    def load(cls, place: Place, *, target_fingerprint: str) -> Snapshot:
        """A snapshot, every byte of which was checked; on a local disk its vectors and features are then mapped.

        Args:
            place: the snapshot's own folder.
            target_fingerprint: of the retriever whose queries it shall answer.

        Raises:
            UserError: a part is missing or damaged, or the index belongs to another retriever.
        """
        manifest = read_manifest(place)
        if manifest.target_fingerprint != target_fingerprint:
            raise UserError(
                f"the index was built by another retriever (target fingerprint {manifest.target_fingerprint[:12]}, "
                f"the retriever's is {target_fingerprint[:12]})",
                str(place),
                "run jobs/index.py again",
            )
        parts = {name: checked(place / name, digest) for name, digest in manifest.sha256.items()}
        vectors_ND = read_vectors(parts[VECTORS], manifest, str(place / VECTORS))
        features_NF = read_features(parts[FEATURES])
        clips = tables.check(read_clips(parts[CLIPS]), "clips", str(place / CLIPS))
        if not len(features_NF) == len(clips) == manifest.count:
            raise UserError("the parts of the index differ in length", str(place), "run jobs/index.py again")
        approximate = None
        if manifest.kind != "exact" and manifest.effort is not None:
            where = str(place / SEARCH)
            approximate = Approximate.load(
                parts[SEARCH], manifest.kind, vectors_ND, manifest.similarity, manifest.effort, where
            )
        return cls(manifest, vectors_ND, features_NF, clips, approximate)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length; zero rows stay."""
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    return (vectors / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)
