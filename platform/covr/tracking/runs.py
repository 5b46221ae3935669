"""Runs as jobs log them: into the journal at once, to MLflow when and as fast as it answers.

`Tracking.start` gives a `RunLogger`. What is logged is appended to the run's journal under the storage root; a
thread of the driver sends it on every few seconds, so that neither a slow nor a missing server is ever waited for by
training, and workers never import MLflow. What could not be sent stays in the journal and follows later.
"""

from __future__ import annotations

import fcntl
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.markup import escape

from covr.errors import UserError
from covr.report.console import say
from covr.storage import Place
from covr.tracking.journal import FOLDER, Journal
from covr.tracking.version import code_version

if TYPE_CHECKING:
    from covr.tracking.load import Load
    from covr.tracking.server import Server

SEND_EVERY_S = 3.0
RETRY_EVERY_S = 30.0  # a server that did not answer is left alone this long
MAX_PARAMS = 99
MAX_VALUE = 500  # characters
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


class RunLogger:
    """One run: logs into its journal. Travels to Ray workers by pickling; only the driver's talks to MLflow."""

    def __init__(self, journal: Journal, sender: Sender | None = None) -> None:
        self.journal = journal
        self._sender = sender
        self._logged: set[tuple[str, int]] | None = None

    def __reduce__(self):
        return (RunLogger._in_worker, (self.journal.root, self.journal.key))

    @classmethod
    def _in_worker(cls, root: Place, key: str) -> RunLogger:
        return cls(Journal(root, key, writer=uuid.uuid4().hex[:8]))

    @property
    def run_id(self) -> str:
        """MLflow's id, or the journal's key while no server has heard of the run. `Tracking.start` takes either."""
        return self.journal.run_id or self.journal.key

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at a step; a (metric, step) that this run has already, before a kill or after, is left as is."""
        if self._logged is None:
            self._logged = self.journal.logged()
        new = {key: float(value) for key, value in metrics.items() if (key, step) not in self._logged}
        if new:
            self.journal.append({"metrics": new, "step": step, "time": _now_ms()})
            self._logged |= {(key, step) for key in new}

    def log_artifact(self, name: str, data: bytes) -> None:
        """Attach a file; the same name again replaces it."""
        file = uuid.uuid4().hex  # its own file: an older one of the same name may be on its way to the server
        self.journal.waiting(file).write_bytes(data)
        self.journal.append({"artifact": name, "file": file})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.journal.append({"tags": {key: str(value)[:MAX_VALUE] for key, value in tags.items()}})

    def log_dataset(self, name: str, *, digest: str, source: str, rows: Mapping[str, int], context: str) -> None:
        """Say which data the run used; MLflow links the runs of one `digest`.

        Args:
            name: of the data set.
            digest: of its tables, at most 36 characters.
            source: folder of the tables.
            rows: of each table.
            context: what they were used for.
        """
        record = {"dataset": name, "digest": digest, "source": source, "rows": dict(rows), "context": context}
        self.journal.append(record)

    def register(self, retriever: Place, *, metric: str, value: float, gallery: str, name: str = "covr") -> None:
        """Make a saved retriever a version of the registered model `name`.

        The alias `champion` moves to it when nobody holds it, or when `value` of `metric` is higher than the
        champion's on the same gallery (given by its fingerprint).
        """
        from covr.tracking.registry import digest

        self.journal.append(
            {
                "model": str(retriever),
                "digest": digest(retriever),
                "name": name,
                "metric": metric,
                "value": float(value),
                "gallery": gallery,
            }
        )

    def finish(self, status: str = "FINISHED") -> None:
        """End the run: FINISHED, FAILED or KILLED. Sends what is left, if the server answers."""
        self.journal.append({"status": status, "time": _now_ms()})
        if self._sender is not None:
            self._sender.close(self.journal)


class Tracking:
    """Where the runs of a storage root go. Cheap to make; MLflow is imported at the first `start`."""

    def __init__(self, root: Place, *, uri: str | None, experiment: str, load_every_s: float | None = None) -> None:
        self.root, self.experiment, self.load_every_s = root, experiment, load_every_s
        self.uri = uri or f"sqlite:///{root.local().resolve()}/mlflow.db"
        self._sender = Sender(self)

    @classmethod
    def from_config(cls, cfg: DictConfig, root: Place) -> Tracking:
        """From the group `trainer/logger`.

        Raises:
            UserError: the URI is not one that MLflow takes, or none is given for a root on an object store.
        """
        if cfg.uri is None and not root.is_local:
            raise UserError("runs need a tracking server", str(root), "set trainer.logger.uri=http://...")
        if cfg.uri is not None and str(cfg.uri).split("+")[0].split(":")[0] not in _SCHEMES:
            raise UserError("not a tracking URI", str(cfg.uri), f"start it with one of {', '.join(_SCHEMES)}")
        return cls(root, uri=cfg.uri, experiment=cfg.experiment, load_every_s=cfg.system_metrics_s)

    def server(self) -> Server:
        """The MLflow client of these runs; importing it takes a second or two."""
        from covr.tracking.server import Server

        return Server(self.uri, self.experiment, self.root)

    def start(
        self,
        name: str,
        *,
        run_id: str | None = None,
        parent_run: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RunLogger:
        """Begin a run, or go on in the one that `run_id` names.

        A run that was begun with the same name and the same tag `step` (the fingerprint of a job's step) and never
        ended is gone on with too: its process was killed before it could note the id.

        Args:
            name: shown in MLflow.
            run_id: a `RunLogger.run_id` of before.
            parent_run: `run_id` of the run that this one is a child of.
            params: flat; values are cut at 500 characters, and of more than 99 all are in the artifact `params.json`.
            tags: beside `code`, the version of the code.
        """
        tags = {"code": code_version(), **(tags or {})}
        journal = self._journal(name, run_id, tags.get("step"))
        fresh = not journal.place.exists()
        if fresh:
            record = {"start": name, "parent": parent_run, "params": _params(params or {}), "time": _now_ms()}
            journal.append({**record, "step": tags.get("step")})
            if run_id is not None and run_id != journal.key:
                journal.append({"run": run_id})
        run = RunLogger(journal, self._sender)
        run.set_tags(tags)
        if fresh and params and len(params) > MAX_PARAMS:
            run.log_artifact("params.json", json.dumps(dict(params), indent=2, default=str).encode())
        journal.append({"status": "RUNNING", "time": _now_ms()})
        self._sender.open(journal)
        return run

    def _journal(self, name: str, run_id: str | None, step: str | None) -> Journal:
        for journal in Journal.all(self.root):
            if run_id is not None and run_id in (journal.key, journal.run_id):
                return journal
            if run_id is None and step is not None and journal.begun_as(name, step):
                return journal
        slug = re.sub(r"[^\w.-]+", "-", name)
        return Journal(self.root, f"{slug}-{uuid.uuid4().hex[:8]}")


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
            journal.append({"metrics": sample, "step": step, "time": _now_ms()})

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


def _params(params: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:MAX_VALUE] for key, value in sorted(params.items())[:MAX_PARAMS]}


def _now_ms() -> int:
    return int(time.time() * 1000)
