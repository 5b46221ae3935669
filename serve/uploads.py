"""A multipart body: its fields checked, its clip in a temporary file."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from covr.datasets.media import SUFFIXES
from serve.problems import Problem, field, invalid

_Fields = TypeVar("_Fields", bound=BaseModel)
_MAX_PARTS = 8  # more than a query has, so that an unknown field is named as such
_MAX_FIELD_BYTES = 2 << 20  # a thousand clip ids of the longest kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload(Generic[_Fields]):
    """A clip on disk, for as long as the request runs, and what came with it."""

    path: Path
    sha256: str
    suffix: str
    """Of the sender's file name, where it is one of a video or an image; otherwise empty."""
    fields: _Fields


@asynccontextmanager
async def received(request: Request, model: type[_Fields]) -> AsyncIterator[Upload[_Fields]]:
    """Read a multipart body: one file `video`, and the fields of `model`.

    Raises:
        Problem: malformed (400), too many parts (413), a field that is missing, unknown, twice there or wrong (422).
    """
    fields, video = await _parts(request)
    try:
        given = model.model_validate(fields)
    except ValidationError as error:
        raise invalid(error) from None
    with tempfile.TemporaryDirectory(prefix="covr-upload-") as folder:
        path = Path(folder) / "clip"  # nothing of the sender's file name reaches the disk
        sha256 = await asyncio.to_thread(_keep, video, path)
        suffix = Path(video.filename or "").suffix.lower()
        yield Upload(path=path, sha256=sha256, suffix=suffix if suffix in SUFFIXES else "", fields=given)


async def _parts(request: Request) -> tuple[dict[str, str], UploadFile]:
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=_MAX_PARTS,
        max_fields=_MAX_PARTS,
        max_part_size=_MAX_FIELD_BYTES,  # files are bounded by the body
    )
    try:
        parts = (await parser.parse()).multi_items()
    except MultiPartException as error:
        if error.message.startswith("Too many"):
            raise Problem(413, "too-many-parts", "The body has too many parts.") from None
        if "exceeded maximum size" in error.message:
            raise Problem(413, "field-too-large", f"A field is over {_MAX_FIELD_BYTES >> 20} MiB.") from None
        raise Problem(400, "malformed-multipart", "The body is not multipart form data.") from None
    names = [name for name, _ in parts]
    if len(set(names)) != len(names):
        raise field(next(name for name in names if names.count(name) > 1), "given more than once")
    fields = {name: value for name, value in parts if isinstance(value, str)}
    files = {name: value for name, value in parts if isinstance(value, UploadFile)}
    video = files.pop("video", None)
    if video is None:
        raise field("video", "a file is required")
    if files:
        raise field(next(iter(files)), "not a file")
    return fields, video


def _keep(video: UploadFile, path: Path) -> str:
    with path.open("wb") as file:
        shutil.copyfileobj(video.file, file, 1 << 20)
    video.file.close()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
