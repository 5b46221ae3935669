"""The files of an index's folder: their names, the manifest that lists them, and reading each one checked."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from covr.errors import UserError
from covr.index import flat_file
from covr.index.approximate import Kind, Similarity
from covr.storage import Place
from covr.storage.place import fingerprint

VERSION = 2
MANIFEST, VECTORS, FEATURES, CLIPS = "manifest.json", "vectors.faiss", "features.npy", "clips.parquet"
SEARCH = "search.faiss"
"""Of an approximate index; `VECTORS` hold the raw ones of every kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a snapshot holds and what it was made from."""

    version: int
    count: int
    """Indexed clips, N."""
    dim: int
    """Of a vector, D."""
    similarity: Similarity
    kind: Kind
    effort: int | None
    """Of an approximate search; see `covr.index.approximate.Approximate`."""
    recall: float | None
    """Of the ten nearest, at this effort, by queries near indexed vectors, when the index was built."""
    target_fingerprint: str
    """Of the retriever's target side; a retriever with another one gets no answers from this index."""
    retriever_fingerprint: str
    """Of the whole retriever at the time of building; where it came from, not a condition."""
    dataset_fingerprint: str
    decoder: str
    """Version of the decoder behind the features (`covr.clips.version`); frames of a query must come from the same."""
    sha256: dict[str, str]
    """File name -> hash of its bytes."""


def indexed_clips(place: Place) -> list[str]:
    """The ids of a snapshot's clips, in the order of its vectors, which are not loaded.

    Raises:
        UserError: as `Snapshot.load`.
    """
    return read_clips(checked(place / CLIPS, read_manifest(place).sha256[CLIPS]), ["clip_id"])["clip_id"].to_pylist()


def read_manifest(place: Place) -> Manifest:
    """The manifest of a snapshot's folder.

    Raises:
        UserError: there is none, or it is damaged, of another version, or not the one that the folder is named by.
    """
    path = place / MANIFEST
    if not path.exists():
        raise UserError("no index is there", str(place), "run jobs/index.py first")
    try:
        manifest = Manifest(**path.read_json())
    except (ValueError, TypeError):
        raise UserError("the index's manifest is damaged", str(path), "run jobs/index.py again") from None
    names = {VECTORS, FEATURES, CLIPS} | (set() if manifest.kind == "exact" else {SEARCH})
    if manifest.version != VERSION or set(manifest.sha256) != names:
        raise UserError("the index is of another version", str(path), "run jobs/index.py again")
    if place.name != fingerprint(asdict(manifest)):
        raise UserError("the index's manifest is not the one that was written", str(path), "run jobs/index.py again")
    return manifest


def checked(path: Place, sha256: str) -> Path | bytes:
    """A file that was checked: its path on a local disk, its bytes from anywhere else.

    Raises:
        UserError: it is missing, or other bytes than were written.
    """
    if not path.exists():
        raise UserError(f"a part of the index is missing ({path.name})", str(path), "run jobs/index.py again")
    part = path.local() if path.is_local else path.read_bytes()
    found = path.sha256() if isinstance(part, Path) else hashlib.sha256(part).hexdigest()
    if found != sha256:
        raise UserError(f"a part of the index is damaged ({path.name})", str(path), "run jobs/index.py again")
    return part


def read_vectors(part: Path | bytes, manifest: Manifest, where: str) -> np.ndarray:
    """Target vectors (N, D), mapped where they are a file."""
    if isinstance(part, Path):
        return flat_file.mapped(part, manifest.count, manifest.dim)
    return flat_file.unpack(part, manifest.count, manifest.dim, where)


def read_features(part: Path | bytes) -> np.ndarray:
    """What the query side reads of each clip (N, ...), mapped where it is a file."""
    if isinstance(part, Path):
        return np.asarray(np.load(part, mmap_mode="r", allow_pickle=False))
    return np.load(io.BytesIO(part), allow_pickle=False)


def read_clips(part: Path | bytes, columns: list[str] | None = None) -> pa.Table:
    """The clips' rows in the order of the vectors, all columns or these."""
    return pq.read_table(part if isinstance(part, Path) else io.BytesIO(part), columns=columns)


def npy(array: np.ndarray) -> bytes:
    """An array as NumPy's file has it, without pickles."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def parquet(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
