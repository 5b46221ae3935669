"""The video and image files of a data set: which are there, and what identifies their contents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from covr.errors import UserError
from covr.storage import Place
from covr.storage.place import fingerprint

SUFFIXES = {
    **dict.fromkeys((".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".ts"), "video"),
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".webp"), "image"),
}

Identity = Literal["content", "stat"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaFile:
    """One file: its URI and what is known without reading it."""

    path: str
    """Below the data root, without the suffix."""
    uri: str
    stat: str
    """Size and time of change, or the object store's own mark."""


class Media:
    """The media files below some folders of a data root, found by their path or name without the suffix.

    Args:
        root: the data root.
        folders: below it, those that are listed.
        by: `path` (below the root) or `stem` (the file's name, wherever it lies).

    Raises:
        UserError: with `stem`, two files of one name.
    """

    def __init__(self, root: Place, folders: Iterable[str], by: Literal["path", "stem"] = "path") -> None:
        self.by = by
        self._files: dict[str, MediaFile] = {}
        for folder in sorted(set(folders)):
            place = root / folder if folder else root
            for path, info in sorted(place.fs.find(place.path, detail=True).items()):
                stem, suffix = os.path.splitext(path[len(root.path) + 1 :])
                if suffix.lower() not in SUFFIXES:
                    continue
                key = stem if by == "path" else os.path.basename(stem)
                uri = path if root.is_local else root.fs.unstrip_protocol(path)
                changed = info.get("mtime") or info.get("ETag") or info.get("etag")
                if key in self._files and self._files[key].uri != uri:
                    told = f"{self._files[key].uri} and {uri}"
                    raise UserError(f"two files for {key!r}", told, "leave one of them in the folder")
                self._files[key] = MediaFile(path=stem, uri=uri, stat=f"{info['size']} {changed}")

    def find(self, path: str) -> MediaFile | None:
        """The file at a path given without its suffix, or None."""
        return self._files.get(path if self.by == "path" else path.rsplit("/", 1)[-1])

    def stems(self, folder: str) -> list[str]:
        """Names without suffix of the files below a folder, sorted."""
        inside = (file.path for file in self._files.values() if file.path.startswith(f"{folder}/"))
        return sorted(path.rsplit("/", 1)[-1] for path in inside)

    def fingerprint(self) -> str:
        """Changes with every file that comes, goes or is written again."""
        return fingerprint(sorted((file.uri, file.stat) for file in self._files.values()))


def identify(files: Sequence[MediaFile], identity: Identity) -> list[str]:
    """The sha256 of each file: of its bytes, or (`stat`) of its URI, size and time of change."""
    if identity == "stat":
        return [hashlib.sha256(f"{file.uri} {file.stat}".encode()).hexdigest() for file in files]
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:  # hashing leaves the GIL
        return list(pool.map(lambda file: Place(file.uri).sha256(), files, chunksize=64))
