"""An immutable vector index in a folder: vectors, the raw features behind them, the clips' rows, a manifest.

The folder is named by its fingerprint and its manifest is written last, so a reader finds all of it or nothing.
Loading checks every byte against the manifest before anything parses it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from covr import tables
from covr.client.filters import Node
from covr.errors import UserError
from covr.index import flat_file
from covr.index.exact import top_k
from covr.index.filters import matches
from covr.storage import Place
from covr.storage.place import fingerprint

VERSION = 1
MANIFEST, VECTORS, FEATURES, CLIPS = "manifest.json", "vectors.faiss", "features.npy", "clips.parquet"

Similarity = Literal["cosine", "dot"]


class Ranked(NamedTuple):
    """One query's answer, best first."""

    scores: np.ndarray
    """(K,), float32."""
    clip_ids: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a snapshot holds and what it was made from."""

    version: int
    count: int
    """Indexed clips, N."""
    dim: int
    """Of a vector, D."""
    similarity: Similarity
    target_fingerprint: str
    """Of the retriever's target side; a retriever with another one gets no answers from this index."""
    retriever_fingerprint: str
    """Of the whole retriever at the time of building; where it came from, not a condition."""
    dataset_fingerprint: str
    decoder: str
    """Version of the decoder behind the features (`covr.clips.version`); frames of a query must come from the same."""
    sha256: dict[str, str]
    """File name -> hash of its bytes."""


class Snapshot:
    """A loaded index; made by `build` or `load`.

    Attributes:
        manifest: see `Manifest`.
        fingerprint: of the manifest; the folder's name.
        vectors_ND: target vectors, float32; unit length where similarity is cosine.
        features_NF: what the query side reads of the clips, float32 (N, ...): the video side of a query by clip id.
        clips: the rows of the clips table, in the order of the vectors.
    """

    def __init__(self, manifest: Manifest, vectors_ND: np.ndarray, features_NF: np.ndarray, clips: pa.Table) -> None:
        self.manifest, self.vectors_ND, self.features_NF, self.clips = manifest, vectors_ND, features_NF, clips
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
        """The `k` nearest clips of each query, exactly.

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
        found = top_k(queries_QD, self.vectors_ND, k, excluded)
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
    ) -> Snapshot:
        """Write `folder/<fingerprint>/` and return what was written.

        Raises:
            UserError: no clips, a clip twice, another number of vectors than clips, or a vector that cannot be
                ranked (not finite; zero under cosine).
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
        files = {VECTORS: flat_file.pack(vectors_ND), FEATURES: _npy(features_NF), CLIPS: _parquet(clips)}
        manifest = Manifest(
            version=VERSION,
            count=len(clip_ids),
            dim=vectors_ND.shape[1],
            similarity=similarity,
            target_fingerprint=target_fingerprint,
            retriever_fingerprint=retriever_fingerprint,
            dataset_fingerprint=dataset_fingerprint,
            decoder=decoder,
            sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        )
        snapshot = cls(manifest, vectors_ND, features_NF, clips)
        place = folder / snapshot.fingerprint
        for name, data in files.items():
            (place / name).write_bytes(data)
        (place / MANIFEST).write_json(asdict(manifest))
        return snapshot

    @classmethod
    def load(cls, place: Place, *, target_fingerprint: str) -> Snapshot:
        """Read a snapshot whole, checking it on the way.

        Args:
            place: the snapshot's own folder.
            target_fingerprint: of the retriever whose queries it shall answer.

        Raises:
            UserError: a part is missing or damaged, or the index belongs to another retriever.
        """
        manifest = _manifest(place)
        if manifest.target_fingerprint != target_fingerprint:
            raise UserError(
                f"the index was built by another retriever (target fingerprint {manifest.target_fingerprint[:12]}, "
                f"the retriever's is {target_fingerprint[:12]})",
                str(place),
                "run jobs/index.py again",
            )
        data = {name: _checked(place / name, digest) for name, digest in manifest.sha256.items()}
        vectors_ND = flat_file.unpack(data[VECTORS], manifest.count, manifest.dim, str(place / VECTORS))
        features_NF = np.load(io.BytesIO(data[FEATURES]), allow_pickle=False)
        clips = tables.check(pq.read_table(io.BytesIO(data[CLIPS])), "clips", str(place / CLIPS))
        if not len(features_NF) == len(clips) == manifest.count:
            raise UserError("the parts of the index differ in length", str(place), "run jobs/index.py again")
        return cls(manifest, vectors_ND, features_NF, clips)


def indexed_clips(place: Place) -> list[str]:
    """The ids of a snapshot's clips, in the order of its vectors, which are not loaded.

    Raises:
        UserError: as `Snapshot.load`.
    """
    data = _checked(place / CLIPS, _manifest(place).sha256[CLIPS])
    return pq.read_table(io.BytesIO(data), columns=["clip_id"])["clip_id"].to_pylist()


def _manifest(place: Place) -> Manifest:
    path = place / MANIFEST
    if not path.exists():
        raise UserError("no index is there", str(place), "run jobs/index.py first")
    try:
        manifest = Manifest(**path.read_json())
    except (ValueError, TypeError):
        raise UserError("the index's manifest is damaged", str(path), "run jobs/index.py again") from None
    if manifest.version != VERSION or set(manifest.sha256) != {VECTORS, FEATURES, CLIPS}:
        raise UserError("the index is of another version", str(path), "run jobs/index.py again")
    if place.name != fingerprint(asdict(manifest)):
        raise UserError("the index's manifest is not the one that was written", str(path), "run jobs/index.py again")
    return manifest


def _checked(path: Place, sha256: str) -> bytes:
    if not path.exists():
        raise UserError(f"a part of the index is missing ({path.name})", str(path), "run jobs/index.py again")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"a part of the index is damaged ({path.name})", str(path), "run jobs/index.py again")
    return data


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length; zero rows stay."""
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    return (vectors / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
