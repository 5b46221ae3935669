"""A clip's file as a path that decoders open, wherever it is stored."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covr.clips.failure import DecodeFailure
from covr.storage import Place


@contextmanager
def on_disk(place: Place) -> Iterator[Path]:
    """The file itself, or a copy of one in an object store for as long as it is read.

    Raises:
        DecodeFailure: missing, there is no such object.
    """
    if place.is_local:
        yield place.local()
        return
    with tempfile.TemporaryDirectory(prefix="covr-clip-") as folder:
        path = Path(folder) / "clip"
        try:
            place.fs.get_file(place.path, str(path))
        except FileNotFoundError:
            raise DecodeFailure("missing", "no such object") from None
        yield path
