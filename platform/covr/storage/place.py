"""A folder or file named by a URI (local path, s3://, gs://), with atomic writes."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from covr.errors import UserError
from covr.storage.remote import wait_out_failures


class Place:
    """A location under one storage root. `place / "name"` goes down; nothing goes up."""

    def __init__(self, uri: str | Path) -> None:
        # Without the cache of listings: another process may have written since.
        self.fs, self.path = fsspec.core.url_to_fs(str(uri), use_listings_cache=False)
        if not self.is_local:
            wait_out_failures(self.fs)
        self.path = self.path.rstrip("/")

    def __truediv__(self, name: str) -> Place:
        if ".." in Path(name).parts:
            raise UserError("a path may not leave its storage root", name, "give a path below the root")
        child = object.__new__(Place)
        child.fs, child.path = self.fs, f"{self.path}/{name}"
        return child

    def __str__(self) -> str:
        return self.path if self.is_local else self.fs.unstrip_protocol(self.path)

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"

    def __reduce__(self):
        return (Place, (str(self),))

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def resolve(self, uri: str) -> Place:
        """The place that a table's `uri` column names: absolute, or relative to this root."""
        return Place(uri) if "://" in uri or uri.startswith("/") else self / uri

    def local(self) -> Path:
        """The path on this machine.

        Raises:
            UserError: the place is on an object store.
        """
        if not self.is_local:
            raise UserError("this step needs a local path", str(self), "give a local folder")
        return Path(self.path)

    def exists(self) -> bool:
        return self.fs.exists(self.path)

    def is_dir(self) -> bool:
        return self.fs.isdir(self.path)

    def list(self) -> list[str]:
        """Names directly below, sorted; hidden and temporary names left out."""
        if not self.fs.isdir(self.path):
            return []
        names = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.fs.ls(self.path, detail=False))
        return sorted(name for name in names if not name.startswith("."))

    def open(self) -> Any:
        """A seekable binary file, for reading."""
        return self.fs.open(self.path, "rb")

    def read_bytes(self) -> bytes:
        try:
            return self.fs.cat_file(self.path)
        except FileNotFoundError:
            raise UserError("no such file", str(self), "run the step that writes it first") from None

    def read_json(self) -> Any:
        return json.loads(self.read_bytes())

    def write_bytes(self, data: bytes) -> None:
        """Write whole or not at all: a reader sees the old bytes or the new."""
        if not self.is_local:
            self.fs.pipe_file(self.path, data)  # one PUT is atomic on object stores
            return
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def write_json(self, value: Any) -> None:
        self.write_bytes((json.dumps(value, indent=2, sort_keys=True) + "\n").encode())

    def remove(self) -> None:
        """Delete the file or the whole folder, if it is there."""
        if self.exists():
            self.fs.rm(self.path, recursive=True)

    def sha256(self) -> str:
        """Hash of the file's bytes, read in blocks."""
        digest = hashlib.sha256()
        with self.open() as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def fingerprint(*values: Any) -> str:
    """A hash of JSON values that does not depend on key order; 32 hexadecimal digits."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
