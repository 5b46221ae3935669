"""The video and image files of a data set: which are there, and what identifies their contents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
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
            for path, info in sorted(_listed(root / folder if folder else root)):
                stem = os.path.splitext(path[len(root.path) + 1 :])[0]
                key = stem if by == "path" else os.path.basename(stem)
                uri = path if root.is_local else root.fs.unstrip_protocol(path)
                if key in self._files and self._files[key].uri != uri:
                    told = f"{self._files[key].uri} and {uri}"
                    raise UserError(f"two files for {key!r}", told, "leave one of them in the folder")
                self._files[key] = MediaFile(path=stem, uri=uri, stat=info)

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


def _listed(folder: Place) -> Iterator[tuple[str, str]]:
    """The media files below a folder, links to folders followed: path, and size with time of change or store's mark."""
    if folder.is_local:
        for inside, folders, names in os.walk(folder.path, followlinks=True):
            real = os.path.realpath(inside) + "/"
            # a link to a folder that it lies in would be followed for ever
            folders[:] = [name for name in folders if not real.startswith(os.path.realpath(f"{inside}/{name}") + "/")]
            for name in names:
                if _is_media(name) and os.path.isfile(path := f"{inside}/{name}"):
                    found = os.stat(path)
                    yield path, f"{found.st_size} {found.st_mtime}"
        return
    for path, info in folder.fs.find(folder.path, detail=True).items():
        if _is_media(path):
            yield path, f"{info['size']} {info.get('ETag') or info.get('etag') or info.get('mtime')}"


def _is_media(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in SUFFIXES


def identify(files: Sequence[MediaFile], identity: Identity) -> list[str]:
    """The sha256 of each file: of its bytes, or (`stat`) of its URI, size and time of change."""
    if identity == "stat":
        return [hashlib.sha256(f"{file.uri} {file.stat}".encode()).hexdigest() for file in files]
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:  # hashing leaves the GIL
        return list(pool.map(lambda file: Place(file.uri).sha256(), files, chunksize=64))
