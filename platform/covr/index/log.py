"""A write-ahead log: records that are on disk before they are acknowledged, one writer at a time.

A record is a header (magic, length and CRC-32 of the payload, CRC-32 of these three) and its payload. What a crash
leaves unfinished at the end was never acknowledged and is cut off; any other damage is refused.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from pathlib import Path

from covr.errors import UserError

_FIELDS = struct.Struct("<4sII")
_CHECK = struct.Struct("<I")
_HEADER = _FIELDS.size + _CHECK.size
_MAGIC = b"cvr1"


def read(path: Path) -> tuple[list[bytes], int]:
    """The payloads of a log, and the length in bytes of what is whole; none where there is no file.

    Raises:
        UserError: damaged elsewhere than at its end.
    """
    data = path.read_bytes() if path.exists() else b""
    payloads, at = [], 0
    while at < len(data):
        rest = len(data) - at
        if rest < _HEADER:
            break
        fields = data[at : at + _FIELDS.size]
        magic, length, check = _FIELDS.unpack(fields)
        if magic != _MAGIC or _CHECK.unpack_from(data, at + _FIELDS.size)[0] != zlib.crc32(fields):
            if data[at:].strip(b"\0") == b"":  # a file system may lengthen a file before it writes into it
                break
            raise _damaged(path, at)
        if rest < _HEADER + length:
            break
        payload = data[at + _HEADER : at + _HEADER + length]
        if zlib.crc32(payload) != check:
            if rest == _HEADER + length:
                break
            raise _damaged(path, at)
        payloads.append(payload)
        at += _HEADER + length
    return payloads, at


class Writer:
    """The one that may append to a log, for as long as it is open.

    Args:
        path: of the log; made where it is not there.
        length: of what this writer has read of it (`read`).

    Raises:
        UserError: another writer has it open, or it has grown since it was read.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise UserError("the index has another writer", str(path), "send changes to one endpoint") from None
        if read(path)[1] != length:
            os.close(self._file)
            raise UserError("the index was changed by another writer", str(path), "reload the endpoint (covr reload)")
        os.ftruncate(self._file, length)
        self._length = length
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # the file's name is on disk too
        os.close(folder)

    def append(self, payload: bytes) -> None:
        """Return once the record is on disk.

        Raises:
            OSError: it cannot be written, for one because the disk is full; the log is as it was.
        """
        fields = _FIELDS.pack(_MAGIC, len(payload), zlib.crc32(payload))
        record = fields + _CHECK.pack(zlib.crc32(fields)) + payload
        try:
            written = 0
            while written < len(record):
                written += os.pwrite(self._file, record[written:], self._length + written)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._length)
            raise
        self._length += len(record)

    def close(self) -> None:
        """Let another write."""
        os.close(self._file)


def _damaged(path: Path, at: int) -> UserError:
    return UserError("the log of the index's changes is damaged", f"{path}, byte {at}", "restore it from a copy")
