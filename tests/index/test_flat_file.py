"""The header is checked before FAISS parses the file."""

from __future__ import annotations

import struct

import faiss
import numpy as np
import pytest

from covr.errors import UserError
from covr.index.flat_file import mapped, pack, unpack

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_round_trip():
    np.testing.assert_array_equal(unpack(pack(VECTORS), 4, 3, "here"), VECTORS)


def test_the_file_is_mapped_as_it_is_read(tmp_path):
    (tmp_path / "vectors.faiss").write_bytes(pack(VECTORS))
    np.testing.assert_array_equal(mapped(tmp_path / "vectors.faiss", 4, 3), VECTORS)


def patched(offset: int, form: str, value: object) -> bytes:
    data = bytearray(pack(VECTORS))
    struct.pack_into(form, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (pack(VECTORS)[:-1], "length"),
        (pack(VECTORS) + b"x", "length"),
        (patched(0, "4s", b"IxF2"), "not an inner-product index of kind IxFI"),
        (patched(4, "<i", 2**30), "dimension 1073741824"),
        (patched(8, "<q", 2**60), "holds 1152921504606846976"),
        (patched(37, "<Q", 2**60), "length"),
        (faiss.serialize_index(faiss.IndexFlatL2(3)).tobytes() + bytes(64), "not an inner-product index of kind IxFI"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        unpack(data, 4, 3, "here")
    (tmp_path / "vectors.faiss").write_bytes(data)
    with pytest.raises(UserError, match=message):
        mapped(tmp_path / "vectors.faiss", 4, 3)
