"""A team's cluster on this machine, with S3, PostgreSQL and MLflow beside it; and what a run on it is held against."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from ray_nodes import COVR, Nodes
from s3_store import Store
from team_services import Postgres, TrackingServer

from covr.storage import Place, TableStore
from covr.tracking import Journal

OPTIONS = (
    "experiment=tiny",
    "rows=[composed,chance]",
    "model.finetune.max_epochs=8",  # long enough to be killed in the middle
    "trainer.threads=1",  # sums of floats differ with the number of threads
    "trainer.log_every_n_steps=1",
)
OFTEN = "trainer.checkpoint_every_s=0"
"""A checkpoint at every step: for runs that are killed in training."""
WITHOUT_DROPOUT = ("model.pretrain.dropout=0", "model.text.dropout=0", "model.fusion.dropout=0")
"""For runs whose number of workers changes: each worker draws its own."""
PLACEMENT = (
    "machine.decode_resources={decode: 0.01}",
    "machine.encode_resources={train: 0.01}",
    "trainer.resources={train: 0.01}",
)
TABLES = ("clips", "texts", "triplets", "galleries", "quarantine")
STEPS = {"ingest", "pretrain", "embed", "finetune/composed", "index", "evaluate"}


def submitted(nodes: Nodes, job: str, *words: str) -> subprocess.Popen:
    """`covr submit JOB` as a process of its own; what it prints is in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", COVR, "submit", job, *OPTIONS, *PLACEMENT, *words],
        env={**nodes.env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """What a job printed that ended as it should."""
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == 0, printed[-6000:]
    return printed


class Team:
    """A cluster (a head without CPUs, a node that decodes, one that trains) and the services beside it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.database = Postgres()
        self.tracking = TrackingServer(folder, self.database.uri, f"{store.root}/mlartifacts", **store.env)
        self.tracking.start()
        self.nodes = Nodes(num_cpus=0, **store.env)
        self.decoding = self.nodes.add(num_cpus=2, resources='{"decode": 1}')
        self.training = self.add_training()

    def add_training(self) -> subprocess.Popen:
        return self.nodes.add(num_cpus=2, resources='{"train": 1}')

    def submit(self, job: str, out: str, *options: str, retries: int = 3) -> subprocess.Popen:
        words = [*options, f"out={out}", f"trainer.logger.uri={self.tracking.uri}", "--retries", str(retries)]
        return submitted(self.nodes, job, *words)

    def actors(self, name: str) -> list[dict]:
        found = self.nodes.get("/api/v0/actors?detail=1&limit=5000")["data"]["result"]["result"]
        return [each for each in found if name in each["class_name"]]

    def stop(self) -> None:
        self.nodes.stop()
        self.tracking.kill()
        self.database.stop()


def rows(root: Place, name: str) -> pa.Table:
    """All rows of a table, in an order that does not depend on its parts."""
    folders = [root / name / each for each in (root / name).list()] if name in ("features", "runs") else []
    table = pa.concat_tables([TableStore(place, name).read() for place in folders or [root / "tables" / name]])
    keys = ("clip_id", "query_id", "rank", "stage", "gallery_id", "owner_id")
    return table.sort_by([(key, "ascending") for key in keys if key in table.column_names])


def curve(root: Place, step: str) -> dict[int, float]:
    """The loss of each step, once it has begun."""
    journals = [each for each in Journal.all(root) if each.name == step]
    assert len(journals) <= 1
    return dict(journals[0].curves().get("loss", [])) if journals else {}


def last_step(root: Place, step: str) -> int:
    return max(curve(root, step), default=0)


def check_equal(found: Place, calm: Place, tolerance: float = 1e-6) -> None:
    """Tables row for row, loss curves point for point, metrics."""
    for name in TABLES:
        assert rows(found, name).equals(rows(calm, name)), name
    features, expected = rows(found, "features"), rows(calm, "features")
    assert features["clip_id"].to_pylist() == expected["clip_id"].to_pylist()
    assert np.abs(np.array(features["value"].to_pylist()) - np.array(expected["value"].to_pylist())).max() < 1e-4
    for step in ("pretrain", "finetune/composed"):
        assert curve(found, step) == pytest.approx(curve(calm, step), abs=tolerance), step
    results = [
        {row["row"]: row["metrics"] for row in (root / "results.json").read_json()["rows"]} for root in (found, calm)
    ]
    for row, metrics in results[1].items():
        assert results[0][row] == pytest.approx(metrics, abs=1e-3), row


def check_tracked(team: Team, root: Place) -> None:
    """One finished MLflow run a step, on the team's server; no metric has a step twice."""
    client = MlflowClient(team.tracking.uri)
    keys = {journal.run_id for journal in Journal.all(root)}
    experiment = client.get_experiment_by_name("covr").experiment_id
    runs = [run for run in client.search_runs([experiment], max_results=1000) if run.info.run_id in keys]
    assert Counter(run.info.run_name for run in runs) == Counter({*STEPS, "pipeline"})
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        for key in run.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), f"{run.info.run_name}: {key}"


def wait_for(condition: Callable[[], object], process: subprocess.Popen, deadline_s: float = 600) -> None:
    """Until `condition` holds, while `process` runs."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert process.poll() is None, process.communicate()[0][-6000:]
        assert time.monotonic() < end
        time.sleep(0.1)


def running(root: Place, step: str) -> bool:
    place = root / "steps" / f"{step}.json"
    return place.exists() and place.read_json()["state"] == "running"


def processes(title: str, below: subprocess.Popen) -> list[psutil.Process]:
    """Ray's processes of a node by what they call themselves."""
    return [each for each in _all() if title in each.info["cmdline"][0] and below.pid in _parents(each)]


def driver(out: str) -> psutil.Process:
    """The driver of the job that writes to `out`: the interpreter, not the shell around it."""
    (found,) = [
        each
        for each in _all()
        if len(words := each.info["cmdline"]) > 2 and words[1].startswith("jobs/") and f"out={out}" in words
    ]
    return found


def _all() -> Iterator[psutil.Process]:
    yield from (each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"])


def _parents(process: psutil.Process) -> list[int]:
    with suppress(psutil.Error):
        return [parent.pid for parent in process.parents()]
    return []
