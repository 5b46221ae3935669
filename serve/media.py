"""A clip's file over HTTP, whole or a range of bytes, from any storage."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from covr.storage import Place
from serve.problems import Problem

_BLOCK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}


class Span(NamedTuple):
    """Bytes `first` to `last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def span(header: str | None, size: int) -> Span | None:
    """What a Range header asks of a file of `size` bytes; None: the whole file.

    A header that is not one range of bytes is ignored, as RFC 9110 (14.2) allows; so several ranges get the
    whole file.

    Raises:
        Problem: 416, the range lies outside the file.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.group(1) == found.group(2) == "":
        return None
    if found[1] == "":
        first, last = max(size - int(found[2]), 0), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return None  # not a range at all
    if first >= size or last < first:
        raise Problem(416, "range", "The range lies outside the file.", headers={"Content-Range": f"bytes */{size}"})
    return Span(first, last)


def file_response(place: Place, etag: str, request: Request) -> Response:
    """The file at `place`, or the part of it that was asked for (206); of a HEAD request the headers only.

    Args:
        etag: of the file's bytes, without quotes; a range counts only where If-Range is absent or names it.

    Raises:
        Problem: 404, the file is gone; 416, the range lies outside it.
    """
    if not place.exists():
        raise Problem(404, "media-gone", "The clip's file is no longer there.")
    size = int(place.fs.size(place.path))
    quoted = f'"{etag}"'
    valid = request.headers.get("if-range", quoted) == quoted
    part = span(request.headers.get("range"), size) if valid else None
    headers = {"Accept-Ranges": "bytes", "ETag": quoted, "Cache-Control": "private, max-age=3600", **_NO_SNIFFING}
    if part is None:
        part, status = Span(0, size - 1), 200
    else:
        status, headers["Content-Range"] = 206, f"bytes {part.first}-{part.last}/{size}"
    headers["Content-Length"] = str(part.length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=_media_type(place.name))
    return StreamingResponse(_read(place, part), status, headers, _media_type(place.name))


def _read(place: Place, part: Span) -> Iterator[bytes]:
    with place.open() as file:
        file.seek(part.first)
        left = part.length
        while left and (block := file.read(min(_BLOCK, left))):
            left -= len(block)
            yield block


def _media_type(name: str) -> str:
    """Only ever a video or an image, so that no browser runs what it is given.

    QuickTime files are MP4 to browsers, but those that are told so do not play them.
    """
    guess = mimetypes.guess_type(name)[0] or ""
    guess = "video/mp4" if guess in ("video/quicktime", "video/x-m4v") else guess
    return guess if guess.startswith(("video/", "image/")) and "svg" not in guess else "application/octet-stream"
