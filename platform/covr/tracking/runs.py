"""Runs as jobs log them: into the journal at once, to MLflow when and as fast as it answers.

`Tracking.start` gives a `RunLogger`. What is logged is appended to the run's journal under the storage root; a
thread of the driver sends it on every few seconds, so that neither a slow nor a missing server is ever waited for by
training, and workers never import MLflow. What could not be sent stays in the journal and follows later.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from covr.errors import UserError
from covr.storage import Place
from covr.tracking.journal import Journal, now_ms
from covr.tracking.sender import Sender
from covr.tracking.version import code_version

if TYPE_CHECKING:
    from covr.tracking.server import Server

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
            self.journal.append({"metrics": new, "step": step, "time": now_ms()})
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
        self.journal.append({"status": status, "time": now_ms()})
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
            record = {"start": name, "parent": parent_run, "params": _params(params or {}), "time": now_ms()}
            journal.append({**record, "step": tags.get("step")})
            if run_id is not None and run_id != journal.key:
                journal.append({"run": run_id})
        run = RunLogger(journal, self._sender)
        run.set_tags(tags)
        if fresh and params and len(params) > MAX_PARAMS:
            run.log_artifact("params.json", json.dumps(dict(params), indent=2, default=str).encode())
        journal.append({"status": "RUNNING", "time": now_ms()})
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


def _params(params: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value)[:MAX_VALUE] for key, value in sorted(params.items())[:MAX_PARAMS]}
