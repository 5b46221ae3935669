"""Vectors in FAISS's own flat format, so that any FAISS program opens an index of ours; the one importer of FAISS."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from covr.errors import UserError

# What FAISS writes for an IndexFlatIP: fourcc, dim, count, two unused words, trained, metric, number of floats.
_HEADER = struct.Struct("<4siqqq?iQ")
_FOURCC = b"IxFI"


def pack(vectors_ND: np.ndarray) -> bytes:
    """The file's bytes for vectors (N, D), float32."""
    faiss = _faiss()
    index = faiss.IndexFlatIP(vectors_ND.shape[1])
    index.add(np.ascontiguousarray(vectors_ND, dtype=np.float32))
    return faiss.serialize_index(index).tobytes()


def unpack(data: bytes, count: int, dim: int, where: str) -> np.ndarray:
    """The vectors (count, dim), float32, of a file's bytes.

    FAISS trusts the sizes in a header; they are checked against the file's length before FAISS reads it.

    Raises:
        UserError: another kind of index, another number or dimension of vectors, or a file of another length.
    """
    faiss = _faiss()
    if len(data) < _HEADER.size:
        raise UserError("the index file is cut short", where, "run jobs/index.py again")
    fourcc, found_dim, found_count, *_, num_floats = _HEADER.unpack_from(data)
    if fourcc != _FOURCC:
        raise UserError("the index file is not a flat inner-product index", where, "run jobs/index.py again")
    if (found_count, found_dim) != (count, dim):
        raise UserError(
            f"the index holds {found_count} vectors of dimension {found_dim}, its manifest says {count} of {dim}",
            where,
            "run jobs/index.py again",
        )
    if num_floats != count * dim or len(data) != _HEADER.size + 4 * count * dim:
        raise UserError("the index file's length does not fit its header", where, "run jobs/index.py again")
    index = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
    return index.reconstruct_n(0, count)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UserError("FAISS is not installed", "covr[cpu] or covr[gpu]", "pip install -e '.[cpu]'") from None
    return faiss
