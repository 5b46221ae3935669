"""Ray's workers below this process while a pipeline runs: how long each kind lives, and its end when it is due."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from types import MappingProxyType

import psutil

DECODE, ENCODE = "ray::MapWorker(MapBatches(Decode))", "ray::MapWorker(MapBatches(Encode))"
TRAIN = "ray::RayTrainWorker"
"""What Ray calls the processes."""
WORKERS = {
    "pretrain, decoding": ("pretrain", DECODE),
    "pretrain, training": ("pretrain", TRAIN),
    "embed, decoding": ("embed", DECODE),
    "embed, encoding": ("embed", ENCODE),
    "finetune, training": ("finetune/composed", TRAIN),
}
"""Which step's workers are looked at."""


class Lives:
    """Seconds of life by kind of worker; one that is `due` at so many seconds is killed, once."""

    def __init__(self, due: Mapping[str, float] = MappingProxyType({})) -> None:
        self.due = due
        self.seconds: dict[str, float] = {}
        self.killed: set[str] = set()
        self._born: dict[str, tuple[int, float]] = {}

    def look(self, step: str) -> None:
        """One glance, while `step` is running."""
        wanted = {who: title for who, (of_step, title) in WORKERS.items() if of_step == step and who not in self.killed}
        if not wanted:
            return
        named = [(process.pid, _title(process)) for process in psutil.Process().children(recursive=True)]
        for who, title in wanted.items():
            pid = next((pid for pid, found in named if found.startswith(title)), None)
            if pid is None:
                continue
            if self._born.get(who, (None, 0))[0] != pid:  # the first one, or the one of the step before is gone
                self._born[who] = (pid, time.monotonic())
            self.seconds[who] = time.monotonic() - self._born[who][1]
            if self.seconds[who] >= self.due.get(who, float("inf")):
                os.kill(pid, signal.SIGKILL)
                self.killed.add(who)


def _title(process: psutil.Process) -> str:
    try:
        return process.cmdline()[0]
    except (psutil.NoSuchProcess, IndexError):
        return ""
