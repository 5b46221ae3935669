"""The journal of one run: what was logged, in order, before any server hears of it.

One JSON record a line, appended with a single write, so that a killed process leaves whole lines and at most one
torn last line, which the next append closes and readers pass over. The records, by their first key:

    {"start": name, "step": fingerprint, "params": {...}, "parent": run, "time": ms}    once, at the top
    {"metrics": {key: value}, "step": n, "time": ms}
    {"tags": {key: value}}
    {"artifact": path, "file": name}          bytes wait in tracking/<key>.<name> until they are sent
    {"dataset": name, "digest": of its tables, "source": place, "rows": {table: n}, "context": step}
    {"model": place, ...}                     see covr.tracking.registry
    {"status": "RUNNING" | "FINISHED" | "FAILED" | "KILLED", "time": ms}
    {"run": MLflow run id}                    what the server called this run
    {"sent": n, "of": {part: n}}              the server has all records of the first n lines, and of the parts'

On an object store, which cannot append, each worker has parts of its own beside the driver's journal.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from covr.storage import Place

FOLDER = "tracking"
_BOOKKEEPING = ("run", "sent")
_PUTTING = threading.Lock()
_PART_BYTES = 64 << 10  # of an object that a worker puts again and again


class Journal:
    """The run `key`'s journal, `tracking/<key>.jsonl` under a storage root.

    Several processes may append to a local journal. On an object store the driver's file is put again whole at each
    append, and a worker writes `tracking/<key>.<writer>-<n>.part`, so that no writer ever puts over another's lines.

    Args:
        writer: names a worker's process; None: the driver.
    """

    def __init__(self, root: Place, key: str, writer: str | None = None) -> None:
        self.root, self.key, self.writer = root, key, writer
        self.place = root / FOLDER / f"{key}.jsonl"
        self._own = _Lines(self.place)
        self._parts: dict[str, _Lines] = {}
        self._written, self._number = b"", 0  # of this worker's present part

    @classmethod
    def all(cls, root: Place) -> list[Journal]:
        """The journals under a storage root, by key."""
        names = (root / FOLDER).list()
        return [cls(root, name.removesuffix(".jsonl")) for name in names if name.endswith(".jsonl")]

    def append(self, record: dict[str, Any]) -> None:
        line = (json.dumps(record) + "\n").encode()
        if not self.place.is_local:
            self._put(line)
            return
        path = Path(self.place.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            # What was not read as a line must not become one: its record may be logged again right now.
            os.write(descriptor, b"\0\n" + line if torn else line)
        finally:
            os.close(descriptor)

    def _put(self, line: bytes) -> None:
        if self.writer is None:
            with _PUTTING:  # the thread that sends to MLflow appends as well
                before = self.place.read_bytes() if self.place.exists() else b""
                self.place.write_bytes(before + line)
            return
        if len(self._written) > _PART_BYTES:
            self._written, self._number = b"", self._number + 1
        self._written += line
        (self.root / FOLDER / f"{self.key}.{self.writer}-{self._number:05d}.part").write_bytes(self._written)

    def lines(self) -> list[dict[str, Any]]:
        """Every line's record in order, without the workers' parts; a torn line reads as {}."""
        return self._own.read()

    def parts(self) -> dict[str, list[dict[str, Any]]]:
        """The lines of the workers' parts by their names; a local journal has none."""
        if self.place.is_local:
            return {}
        for name in (self.root / FOLDER).list():
            if name.startswith(f"{self.key}.") and name.endswith(".part"):
                self._parts.setdefault(name, _Lines(self.root / FOLDER / name))
        return {name: part.read() for name, part in sorted(self._parts.items())}

    def records(self) -> Iterator[dict[str, Any]]:
        """What was logged, without the bookkeeping."""
        return filter(_logged, itertools.chain(self.lines(), *self.parts().values()))

    def unsent(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Records that the server does not have, and the line that says so once it has them.

        A later `run` line (the server forgot the run, and it was made again) makes everything unsent again.
        """
        lines, parts = self.lines(), self.parts()
        sent, of = 0, dict.fromkeys(parts, 0)
        for line in lines:
            if "run" in line:
                sent, of = 0, dict.fromkeys(parts, 0)
            sent = max(sent, line.get("sent", 0))
            of |= {name: count for name, count in line.get("of", {}).items() if count > of.get(name, 0)}
        rest = [*lines[sent:], *(line for name, part in parts.items() for line in part[of[name] :])]
        mark: dict[str, Any] = {"sent": len(lines)}
        if parts:
            mark["of"] = {name: len(part) for name, part in parts.items()}
        return list(filter(_logged, rest)), mark

    @property
    def run_id(self) -> str | None:
        """What MLflow calls this run; None before a server has heard of it."""
        return next((line["run"] for line in reversed(self.lines()) if "run" in line), None)

    @property
    def name(self) -> str:
        """The name that the run was started with."""
        return next((line["start"] for line in self.lines() if "start" in line), self.key)

    @property
    def params(self) -> dict[str, str]:
        """What the run was started with."""
        return next((line["params"] for line in self.lines() if "start" in line), {})

    @property
    def started_ms(self) -> int:
        """When the run was first started."""
        return next((line["time"] for line in self.lines() if "start" in line), 0)

    @property
    def status(self) -> str:
        """The last status, as MLflow names them."""
        return next((line["status"] for line in reversed(self.lines()) if "status" in line), "RUNNING")

    def logged(self) -> set[tuple[str, int]]:
        """The (metric, step) pairs that were logged, by any process."""
        return {(key, record["step"]) for record in self.records() for key in record.get("metrics", ())}

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Every metric as (step, value) points in the order of the steps."""
        points: dict[str, list[tuple[int, float]]] = {}
        for record in self.records():
            for key, value in record.get("metrics", {}).items():
                points.setdefault(key, []).append((record["step"], value))
        return {key: sorted(curve) for key, curve in points.items()}

    def begun_as(self, name: str, step: str) -> bool:
        """Whether this is the unfinished run of that name and step fingerprint."""
        start = next((line for line in self.lines() if "start" in line), {})
        return (start.get("start"), start.get("step")) == (name, step) and self.status == "RUNNING"

    def waiting(self, file: str) -> Place:
        """Where an artifact's bytes wait until the server has them."""
        return self.root / FOLDER / f"{self.key}.{file}"


class _Lines:
    """The lines of one file; what was read before is not read again."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lines: list[dict[str, Any]] = []  # of the first self._read bytes
        self._read = 0
        self._lock = threading.Lock()

    def read(self) -> list[dict[str, Any]]:
        with self._lock:
            whole, newline, _ = self._rest().rpartition(b"\n")
            if newline:
                self._lines += [_parse(line) for line in whole.split(b"\n")]
                self._read += len(whole) + 1
            return list(self._lines)

    def _rest(self) -> bytes:
        """The bytes behind those that were read."""
        try:
            if not self.place.is_local:  # an object may not be asked for what lies behind its end
                return self.place.fs.cat_file(self.place.path)[self._read :]
            with open(self.place.path, "rb") as file:
                file.seek(self._read)
                return file.read()
        except FileNotFoundError:
            return b""


def _logged(line: dict[str, Any]) -> bool:
    return bool(line) and next(iter(line)) not in _BOOKKEEPING


def _parse(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def now_ms() -> int:
    """As MLflow counts time: milliseconds since 1970."""
    return int(time.time() * 1000)
