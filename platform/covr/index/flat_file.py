"""Vectors in FAISS's own flat format, so that any FAISS program opens an index of ours; the one importer of FAISS."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from covr.errors import UserError

# What every FAISS index file begins with: fourcc, dim, count, two unused words, trained, metric.
_HEAD = struct.Struct("<4siqqq?i")
_INNER_PRODUCT = 0
# What FAISS writes for an IndexFlatIP: the head, and the number of floats that follow.
_NUM_FLOATS = struct.Struct("<Q")
FLAT_HEADER = _HEAD.size + _NUM_FLOATS.size
_FLAT = b"IxFI"


def pack(vectors_ND: np.ndarray) -> bytes:
    """The file's bytes for vectors (N, D), float32."""
    faiss = library()
    index = faiss.IndexFlatIP(vectors_ND.shape[1])
    index.add(np.ascontiguousarray(vectors_ND, dtype=np.float32))
    return faiss.serialize_index(index).tobytes()


def unpack(data: bytes, count: int, dim: int, where: str) -> np.ndarray:
    """The vectors (count, dim), float32, of a file's bytes; not writable.

    Raises:
        UserError: another kind of index, another number or dimension of vectors, or a file of another length.
    """
    _check_flat(data[:FLAT_HEADER], len(data), count, dim, where)
    return np.frombuffer(data, np.float32, count * dim, FLAT_HEADER).reshape(count, dim)


def mapped(path: Path, count: int, dim: int) -> np.ndarray:
    """As `unpack` of the file at `path`, whose pages are read when they are needed.

    Raises:
        UserError: as `unpack`.
    """
    with path.open("rb") as file:
        _check_flat(file.read(FLAT_HEADER), path.stat().st_size, count, dim, str(path))
    return np.asarray(np.memmap(path, np.float32, "r", FLAT_HEADER, (count, dim)))


def check_head(head: bytes, fourcc: bytes, count: int, dim: int, where: str) -> None:
    """Refuse what is not such an index, before FAISS, which trusts the sizes in a file, reads it.

    Raises:
        UserError: cut short, another kind of index, or another number or dimension of vectors.
    """
    if len(head) < _HEAD.size:
        raise UserError("the index file is cut short", where, "run jobs/index.py again")
    found, found_dim, found_count, *_, trained, metric = _HEAD.unpack_from(head)
    if found != fourcc or metric != _INNER_PRODUCT or not trained:
        kind = fourcc.decode()
        raise UserError(
            f"the index file is not an inner-product index of kind {kind}", where, "run jobs/index.py again"
        )
    if (found_count, found_dim) != (count, dim):
        raise UserError(
            f"the index holds {found_count} vectors of dimension {found_dim}, its manifest says {count} of {dim}",
            where,
            "run jobs/index.py again",
        )


def _check_flat(header: bytes, length: int, count: int, dim: int, where: str) -> None:
    check_head(header, _FLAT, count, dim, where)
    (num_floats,) = _NUM_FLOATS.unpack_from(header.ljust(FLAT_HEADER, b"\0"), _HEAD.size)
    if num_floats != count * dim or length != FLAT_HEADER + 4 * count * dim:
        raise UserError("the index file's length does not fit its header", where, "run jobs/index.py again")


def library() -> Any:
    """FAISS.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise UserError("FAISS is not installed", "covr[cpu] or covr[gpu]", "pip install -e '.[cpu]'") from None
    return faiss
