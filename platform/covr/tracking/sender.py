"""What journals hold on its way to MLflow: a thread of the driver that sends it, as fast as the server answers."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape

from covr.report.console import say
from covr.storage import Place
from covr.tracking.journal import FOLDER, Journal, now_ms

if TYPE_CHECKING:
    from covr.tracking.load import Load
    from covr.tracking.runs import Tracking
    from covr.tracking.server import Server

SEND_EVERY_S = 3.0
RETRY_EVERY_S = 30.0
"""So long a server that did not answer is left alone."""


class Sender:
    """The driver's thread that sends open journals on while their runs last, and those of before that are behind."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._server: Server | None = None
        self._open: dict[str, Journal] = {}
        self._behind: dict[str, Journal] = {}
        self._lock = threading.Lock()  # one conversation with the server at a time
        self._ended = threading.Event()
        self._retry_at = 0.0
        self._told = False
        self._load: Load | None = None
        self._sample_at = 0.0

    def open(self, journal: Journal) -> None:
        """Tell the server of a run that begins, and, in the background, of what earlier runs could not tell."""
        self._attempt(journal, resume=True)
        self._behind.pop(journal.key, None)
        first = not self._open
        self._open[journal.key] = journal
        if first:
            self._ended = threading.Event()
            threading.Thread(target=self._run, args=(self._ended,), name="covr-tracking", daemon=True).start()

    def close(self, journal: Journal) -> None:
        """Send the last of a run that ended; the thread ends with the last open run."""
        self._open.pop(journal.key, None)
        self._retry_at = 0.0  # the last chance of this process
        self._attempt(journal)
        if journal.unsent()[0]:
            self._behind[journal.key] = journal
        if not self._open:
            self._ended.set()
            self._catch_up()

    def _run(self, ended: threading.Event) -> None:
        for journal in Journal.all(self._tracking.root):
            if journal.key not in self._open and journal.unsent()[0]:
                self._behind[journal.key] = journal
        self._catch_up()
        while not ended.wait(SEND_EVERY_S):
            self._sample()
            for journal in list(self._open.values()):
                self._attempt(journal)

    def _sample(self) -> None:
        """Log the machine's load to the open runs, where it is time; numbered on from what a run has already."""
        every_s, now = self._tracking.load_every_s, time.monotonic()
        if every_s is None:
            return
        if self._load is None:
            from covr.tracking.load import Load

            self._load, self._sample_at = Load(), now + every_s
        if now < self._sample_at:
            return
        self._sample_at = now + every_s
        sample = self._load.sample()
        for journal in list(self._open.values()):
            step = 1 + max((step for key, step in journal.logged() if key in sample), default=-1)
            journal.append({"metrics": sample, "step": step, "time": now_ms()})

    def _catch_up(self) -> None:
        for key, journal in list(self._behind.items()):
            self._attempt(journal)
            if not journal.unsent()[0]:
                self._behind.pop(key, None)

    def _attempt(self, journal: Journal, resume: bool = False) -> None:
        if time.monotonic() < self._retry_at:
            return
        with self._lock, _one_process(self._tracking.root):
            try:
                if self._server is None:
                    self._server = self._tracking.server()
                if resume:
                    self._server.resume(journal)
                self._server.ship(journal)
            except Exception as error:  # whatever a server's client raises: tracking never fails a job
                self._retry_at = time.monotonic() + RETRY_EVERY_S
                if not self._told:
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
                    say(f"[yellow]MLflow does not take the runs now; kept and sent later: {escape(reason)}[/yellow]")
                self._told = True
            else:
                self._retry_at, self._told = 0.0, False


@contextmanager
def _one_process(root: Place) -> Iterator[None]:
    """Keep two drivers on one local root from making the same MLflow run twice."""
    if not root.is_local:
        yield
        return
    folder = (root / FOLDER).local()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
