"""The MLflow side of tracking: a journal's records become one MLflow run, each record once."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# MLflow's own patience (seven retries, two minutes each) would hold a job for minutes; the journal is our retry.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from covr.report.console import say
from covr.storage import Place
from covr.tracking import registry
from covr.tracking.journal import Journal

KEY_TAG = "covr.key"
"""Tag by which the run of a journal is found again when a kill fell between its creation and the journal's line."""

_BATCH = 500  # metrics in one request; MLflow takes 1000
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE")

logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints tracebacks of what we tell in a line


class Server:
    """An MLflow tracking server or database, and the experiment that our runs belong to.

    Its methods raise whatever the server's client raises; `covr.tracking.runs` decides what that means.
    """

    def __init__(self, uri: str, experiment: str, root: Place) -> None:
        _create_whole(uri)
        self.client = MlflowClient(uri)
        self.uri, self.experiment, self.root = uri, experiment, root
        self._experiment_id: str | None = None

    def ship(self, journal: Journal) -> None:
        """Send what the server does not have. Safe to repeat after a kill: MLflow keeps one of equal points."""
        run_id = journal.run_id or self._make_run(journal)
        records, mark = journal.unsent()
        if not records:
            return
        for batch in _metric_batches(records):
            self._accepted(journal, self.client.log_batch, run_id, metrics=batch)
        for record in records:
            self._send(journal, run_id, record)
        journal.append(mark)
        for record in records:
            if "artifact" in record:
                journal.waiting(record["file"]).remove()

    def resume(self, journal: Journal) -> None:
        """Make sure that the server still knows the journal's run; if it was deleted, all is sent again."""
        run_id = journal.run_id
        if run_id is None:
            return
        try:
            known = self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = False
        if not known:
            self._make_run(journal)

    def _send(self, journal: Journal, run_id: str, record: dict[str, Any]) -> None:
        if "start" in record:
            params = [Param(key, value) for key, value in record["params"].items()]
            self._accepted(journal, self.client.log_batch, run_id, params=params)
        elif "tags" in record:
            tags = [RunTag(key, value) for key, value in record["tags"].items()]
            self._accepted(journal, self.client.log_batch, run_id, tags=tags)
        elif "artifact" in record:
            waiting = journal.waiting(record["file"])
            if waiting.exists():  # gone: sent before a kill, or to a server that has since forgotten the run
                self._put_artifact(run_id, record["artifact"], waiting.read_bytes())
        elif "dataset" in record:
            self._accepted(journal, self.client.log_inputs, run_id, datasets=[_dataset(record)])
        elif "model" in record:
            registry.register(self.client, run_id, journal.root, record)
        elif "status" in record:
            status, time_ms = record["status"], record["time"]
            if status == "RUNNING":
                self.client.update_run(run_id, status=status)
            else:
                self.client.set_terminated(run_id, status=status, end_time=time_ms)

    def _put_artifact(self, run_id: str, name: str, data: bytes) -> None:
        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / file
            path.write_bytes(data)
            self.client.log_artifact(run_id, str(path), folder or None)

    def _accepted(self, journal: Journal, send: Any, *arguments: Any, **values: Any) -> None:
        """Call the server; what it refuses for good is told and left, so that the rest can follow."""
        try:
            send(*arguments, **values)
        except MlflowException as error:
            if error.error_code not in _REFUSED:
                raise
            say(f"[yellow]MLflow refused a record of {journal.name}: {error.message}[/yellow]")

    def _make_run(self, journal: Journal) -> str:
        """The run that belongs to the journal: found by its key, or made."""
        experiment = self._experiment()
        found = self.client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{journal.key}'", ViewType.ACTIVE_ONLY, 1)
        if found:
            run_id = found[0].info.run_id
        else:
            start = next(record for record in journal.records() if "start" in record)
            tags = {MLFLOW_RUN_NAME: start["start"], KEY_TAG: journal.key}
            if start["parent"]:
                tags[MLFLOW_PARENT_RUN_ID] = self._parent(start["parent"])
            run_id = self.client.create_run(experiment, start_time=start["time"], tags=tags).info.run_id
        journal.append({"run": run_id})
        return run_id

    def _parent(self, run: str) -> str:
        """MLflow's id of a parent given by that id, or by the key of a journal begun while the server was away."""
        journal = Journal(self.root, run)
        if not journal.place.exists():
            return run
        return journal.run_id or self._make_run(journal)

    def _experiment(self) -> str:
        if self._experiment_id is None:
            found = self.client.get_experiment_by_name(self.experiment)
            if found is not None:
                self._experiment_id = found.experiment_id
            else:
                # A database has no store of its own for artifacts; a server does.
                own = None if self.uri.startswith("http") else f"{self.root}/mlartifacts"
                self._experiment_id = self.client.create_experiment(self.experiment, artifact_location=own)
        return self._experiment_id


def _create_whole(uri: str) -> None:
    """Make a missing sqlite database beside its place and then rename it: a process killed in the middle of MLflow's
    migrations would leave one that MLflow never opens again."""
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as temporary:
        MlflowClient(f"sqlite:///{temporary}/{path.name}").search_experiments(max_results=1)
        (Path(temporary) / path.name).rename(path)


def mlflow_name(metric: str) -> str:
    """A metric as MLflow, which takes no `@`, calls it: `mAP_at_10`."""
    return metric.replace("@", "_at_")


def own_name(metric: str) -> str:
    """The metric that MLflow calls so."""
    return metric.replace("_at_", "@")


def _dataset(record: dict[str, Any]) -> DatasetInput:
    source = record["source"]
    data = Dataset(
        name=record["dataset"],
        digest=record["digest"],
        source_type="local" if source.startswith("/") else source.partition(":")[0],
        source=json.dumps({"uri": source}),
        profile=json.dumps(record["rows"]),
    )
    return DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, record["context"])])


def _metric_batches(records: Iterable[dict[str, Any]]) -> Iterator[list[Metric]]:
    batch: list[Metric] = []
    for record in records:
        if "metrics" not in record:
            continue
        metrics = record["metrics"].items()
        batch += [Metric(mlflow_name(key), value, record["time"], record["step"]) for key, value in metrics]
        while len(batch) >= _BATCH:
            yield batch[:_BATCH]
            batch = batch[_BATCH:]
    if batch:
        yield batch
