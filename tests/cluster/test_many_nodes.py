"""The whole pipeline on a cluster of several nodes, a team's services beside it; again with everything that can die.

One calm run on one machine is the judge of all: its tables row for row, its loss curve, its metrics.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from ray_nodes import COVR, Nodes, free_port
from s3_store import Store, s3_store
from team_services import Postgres, TrackingServer

from covr.storage import Place, TableStore
from covr.tracking import Journal

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1200)]
REPO = Path(__file__).parents[2]
OPTIONS = ("experiment=tiny", "rows=[composed,chance]", "trainer.checkpoint_every_s=0", "trainer.log_every_n_steps=1")
PLACEMENT = (
    "machine.decode_resources={decode: 0.01}",
    "machine.encode_resources={train: 0.01}",
    "trainer.resources={train: 0.01}",
)
TABLES = ("clips", "texts", "triplets", "galleries", "quarantine")
STEPS = {"ingest", "pretrain", "embed", "finetune/composed", "index", "evaluate"}


class Team:
    """A cluster (a head without CPUs, a node that decodes, one that trains), S3, PostgreSQL and MLflow."""

    def __init__(self, store: Store, folder: Path, **env: str) -> None:
        self.store = store
        self.database = Postgres()
        artifacts = f"{store.root}/mlartifacts"
        self.tracking = TrackingServer(folder, self.database.uri, artifacts, **store.env)
        self.tracking.start()
        self.nodes = Nodes(num_cpus=0, **store.env, **env)
        self.decoding = self.nodes.add(num_cpus=2, resources='{"decode": 1}')
        self.training = self.nodes.add(num_cpus=2, resources='{"train": 1}')

    def submit(self, job: str, out: str, *options: str) -> subprocess.Popen:
        words = ["submit", job, *OPTIONS, *PLACEMENT, *options, f"out={out}"]
        words += [f"trainer.logger.uri={self.tracking.uri}", "--retries", "3"]
        return subprocess.Popen(
            [sys.executable, "-c", COVR, *words],
            env={**self.nodes.env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen) -> str:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed[-6000:]
        return printed

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
    (journal,) = [each for each in Journal.all(root) if each.name == step]
    return dict(journal.curves()["loss"])


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


def check_tracked(team: Team, root: Place, finished: bool = True) -> None:
    """One MLflow run a step, on the team's server; no metric has a step twice."""
    client = MlflowClient(team.tracking.uri)
    keys = {journal.run_id for journal in Journal.all(root)}
    experiment = client.get_experiment_by_name("covr").experiment_id
    runs = [run for run in client.search_runs([experiment], max_results=1000) if run.info.run_id in keys]
    names = Counter(run.info.run_name for run in runs)
    assert names == Counter({*STEPS, "pipeline"})
    if finished:
        assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        for key in run.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), f"{run.info.run_name}: {key}"


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Place:
    """The same jobs on one machine, with a Ray of their own."""
    out = tmp_path_factory.mktemp("calm")
    command = [sys.executable, "jobs/pipeline.py", *OPTIONS, f"out={out}", "machine.num_cpus=2"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Place(out)


@pytest.fixture(scope="module")
def team(tmp_path_factory) -> Iterator[Team]:
    with s3_store() as store:
        team = Team(store, tmp_path_factory.mktemp("mlflow"))
        try:
            yield team
        finally:
            team.stop()


def wait_for(condition: Callable[[], object], process: subprocess.Popen, deadline_s: float = 400) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert process.poll() is None, process.communicate()[0][-6000:]
        assert time.monotonic() < end
        time.sleep(0.1)


def processes(title: str, below: subprocess.Popen | None = None) -> list[psutil.Process]:
    """Ray's processes by what they call themselves; `below` a node."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if title in " ".join(each.info["cmdline"] or [])
        and (below is None or any(parent.pid == below.pid for parent in _parents(each)))
    ]


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.Error:
        return []


def running(root: Place, step: str) -> bool:
    place = root / "steps" / f"{step}.json"
    return place.exists() and place.read_json()["state"] == "running"


def test_the_pipeline_on_many_nodes_equals_one_machine(calm, team):
    out = f"{team.store.root}/whole"
    printed = team.finish(team.submit("pipeline", out))
    root = Place(out)
    check_equal(root, calm)
    check_tracked(team, root)
    places = {
        name: {actor["node_id"] for actor in team.actors(name)} for name in ("Decode", "Encode", "RayTrainWorker")
    }
    assert all(len(nodes) == 1 for nodes in places.values()), places
    assert places["Encode"] == places["RayTrainWorker"] != places["Decode"]
    assert re.search(r"#/jobs/pipeline-\w{8}", printed)
    client = MlflowClient(team.tracking.uri)
    (evaluated,) = [j.run_id for j in Journal.all(root) if j.name == "evaluate"]
    names = {each.path for each in client.list_artifacts(evaluated)}
    assert "report.html" in names
    assert Place(f"{team.store.root}/mlartifacts").list()  # behind the server, in the object store
    assert client.get_run(evaluated).data.tags["ray.submission"].startswith("pipeline-")


def test_everything_dies_once(calm, team):
    """A decode worker, a training worker at a random step, the node that trains, and the driver, in one run."""
    out = f"{team.store.root}/killed"
    root = Place(out)
    process = team.submit("pipeline", out)
    wait_for(
        lambda: running(root, "pretrain") and processes("ray::MapWorker(MapBatches(Decode))", team.decoding), process
    )
    os.kill(processes("ray::MapWorker(MapBatches(Decode))", team.decoding)[0].pid, signal.SIGKILL)

    moment = random.Random(time.time()).randint(2, max(curve(calm, "pretrain")) - 2)
    wait_for(lambda: _steps(root, "pretrain") >= moment, process)
    for worker in processes("ray::RayTrainWorker", team.training):
        os.kill(worker.pid, signal.SIGKILL)

    wait_for(lambda: _steps(root, "finetune/composed") >= 2, process)
    team.nodes.kill(team.training)
    team.training = team.nodes.add(num_cpus=2, resources='{"train": 1}')

    wait_for(lambda: running(root, "evaluate") or running(root, "index"), process)
    (driver,) = [
        p for p in processes("jobs/pipeline.py") if f"out={out}" in p.cmdline() and p.cmdline()[1].startswith("jobs")
    ]
    driver.kill()
    printed = team.finish(process)
    assert "submitted again as pipeline-" in printed
    check_equal(root, calm)
    check_tracked(team, root)


def _steps(root: Place, step: str) -> int:
    journals = [each for each in Journal.all(root) if each.name == step]
    return max(dict(journals[0].curves().get("loss", [])), default=0) if journals else 0


def test_storage_fails_for_a_minute_and_mlflow_for_the_whole_run(calm, team):
    out = f"{team.store.root}/cut"
    root = Place(out)
    team.tracking.kill()
    process = team.submit("pipeline", out)
    wait_for(lambda: _steps(root, "pretrain") >= 2, process)
    team.store.wire.cut()
    threading.Timer(60, team.store.wire.mend).start()
    team.finish(process)
    check_equal(root, calm)
    assert not any(journal.run_id for journal in Journal.all(root))  # nobody has heard of it
    team.tracking.start()
    team.finish(team.submit("pipeline", out))  # all is done; what was logged follows
    check_tracked(team, root)


def test_the_head_is_restarted(calm, tmp_path):
    """With Redis behind it the head comes back as it was; what ran on the nodes goes on or is submitted again."""
    redis = tempfile.mkdtemp(prefix="redis-")
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", redis],
        stdout=subprocess.DEVNULL,
    )
    with s3_store() as store:
        nodes = Nodes(num_cpus=0, redis=f"127.0.0.1:{port}", **store.env)
        try:
            nodes.add(num_cpus=3, resources='{"decode": 1, "train": 1}')
            out = f"{store.root}/head"
            words = [
                "submit",
                "pipeline",
                *OPTIONS,
                *PLACEMENT,
                f"out={out}",
                f"trainer.logger.uri=sqlite:///{tmp_path}/m.db",
            ]
            process = subprocess.Popen(
                [sys.executable, "-c", COVR, *words, "--cpus", "0.1"],
                env={**nodes.env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            wait_for(lambda: _steps(Place(out), "pretrain") >= 2, process)
            nodes.kill(nodes.head)
            time.sleep(3)
            nodes.start_head()
            printed, _ = process.communicate(timeout=600)
            assert process.returncode == 0, printed[-6000:]
            check_equal(Place(out), calm)
        finally:
            nodes.stop()
            server.kill()


def test_other_numbers_of_workers_and_a_change_in_the_middle(calm, team):
    out = f"{team.store.root}/two"
    root = Place(out)
    for job in ("ingest", "pretrain", "embed"):
        team.finish(team.submit(job, out))
    process = team.submit("finetune", out, "trainer.devices=1")
    wait_for(lambda: _steps(root, "finetune/composed") >= 3, process)
    listed = json.loads(team.nodes.covr("jobs", "list", "--json").stdout)
    team.nodes.covr("jobs", "stop", next(job["submission_id"] for job in listed if job["status"] == "RUNNING"))
    process.communicate(timeout=120)
    team.finish(team.submit("finetune", out, "trainer.devices=2"))
    assert curve(root, "finetune/composed") == pytest.approx(curve(calm, "finetune/composed"), abs=1e-3)


def test_two_pipelines_side_by_side(calm, team):
    """Two people on one cluster; each gets what a calm run gives, and stopping one leaves the other."""
    outs = [f"{team.store.root}/person-{number}" for number in range(3)]
    processes_ = [
        team.submit("pipeline", out, "machine.decode_workers=1", f"serve.name=covr{n}") for n, out in enumerate(outs)
    ]
    wait_for(lambda: running(Place(outs[2]), "pretrain"), processes_[2])
    listed = json.loads(team.nodes.covr("jobs", "list", "--json").stdout)
    team.nodes.covr("jobs", "stop", next(j["submission_id"] for j in listed if outs[2] in j["entrypoint"]))
    processes_[2].communicate(timeout=120)
    for process, out in zip(processes_[:2], outs, strict=False):
        team.finish(process)
        check_equal(Place(out), calm)
