"""Runs in a real MLflow database: resumed, nested, logged from Ray workers, and never twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from mlflow_root import tracking_on

from covr.errors import UserError
from covr.storage import Place
from covr.tracking import Journal


def test_a_run_arrives_whole(tracking, client, history):
    run = tracking.start("finetune/composed", params={"lr": 0.001, "text": None}, tags={"protocol": "both"})
    run.log_metrics({"loss": 2.0, "mAP@10": 0.5}, step=1)
    run.log_metrics({"loss": 1.0}, step=2)
    run.log_artifact("sheets/a.json", b"{}")
    run.finish("FINISHED")
    found = client.get_run(run.run_id)
    assert (found.info.run_name, found.info.status) == ("finetune/composed", "FINISHED")
    assert found.data.params == {"lr": "0.001", "text": "None"}
    assert found.data.tags["protocol"] == "both"
    assert found.data.tags["code"]
    assert history(run.run_id, "loss") == [(1, 2.0), (2, 1.0)]
    assert history(run.run_id, "mAP_at_10") == [(1, 0.5)]
    assert [artifact.path for artifact in client.list_artifacts(run.run_id, "sheets")] == ["sheets/a.json"]
    assert (tracking.root / "tracking").list() == [f"{run.journal.key}.jsonl"]  # the waiting bytes are gone


def test_children_name_their_parent(tracking, client):
    pipeline = tracking.start("pipeline")
    step = tracking.start("embed", parent_run=pipeline.run_id)
    step.finish("FINISHED")
    pipeline.finish("FINISHED")
    assert client.get_run(step.run_id).data.tags["mlflow.parentRunId"] == pipeline.run_id


def test_curves_arrive_while_the_run_goes_on(tracking, history, monkeypatch):
    monkeypatch.setattr("covr.tracking.sender.SEND_EVERY_S", 0.1)
    run = tracking.start("pretrain")
    run.log_metrics({"loss": 1.0}, 0)
    deadline = time.monotonic() + 20
    while not history(run.run_id, "loss") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert history(run.run_id, "loss") == [(0, 1.0)]
    run.finish("FINISHED")


def test_the_machines_load_is_sampled_and_numbered_on(root, history, monkeypatch):
    monkeypatch.setattr("covr.tracking.sender.SEND_EVERY_S", 0.1)
    key = "system/cpu_utilization_percentage"

    def run_until(num_samples: int, run_id: str | None) -> str:
        run = tracking_on(root, system_metrics_s=0.2).start("pretrain", run_id=run_id)
        deadline = time.monotonic() + 30
        while len(run.journal.curves().get(key, ())) < num_samples and time.monotonic() < deadline:
            time.sleep(0.05)
        run.finish("FINISHED")
        return run.run_id

    run_id = run_until(2, None)
    run_until(5, run_id)
    steps = [step for step, _ in history(run_id, key)]
    assert len(steps) >= 5
    assert steps == list(range(len(steps)))
    assert all(0 <= value <= 100 for _, value in history(run_id, key))


def test_data_sets_link_runs(tracking, client):
    runs = [tracking.start(name) for name in ("pretrain", "evaluate")]
    for run in runs:
        run.log_dataset("motions", digest="f" * 32, source="/data/tables", rows={"clips": 9}, context=run.journal.name)
        run.finish()
        tracking.server().ship(Journal(tracking.root, run.journal.key))
    for run in runs:
        (used,) = client.get_run(run.run_id).inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("motions", "f" * 32)
        assert json.loads(used.dataset.source) == {"uri": "/data/tables"}
        assert [tag.value for tag in used.tags] == [run.journal.name]


def test_resumed_by_its_id_nothing_is_twice(root, history, client):
    first = tracking_on(root).start("pretrain", params={"a": 1})
    for step in range(5):
        first.log_metrics({"loss": 1.0 / (step + 1)}, step)
    first.finish("FAILED")
    again = tracking_on(root).start("pretrain", run_id=first.run_id, params={"a": 1})
    assert again.run_id == first.run_id
    assert client.get_run(first.run_id).info.status == "RUNNING"
    for step in range(3, 8):
        again.log_metrics({"loss": 9.0}, step)
    again.finish("FINISHED")
    assert history(first.run_id, "loss") == [(s, 1.0 / (s + 1)) for s in range(5)] + [(s, 9.0) for s in range(5, 8)]
    assert client.get_run(first.run_id).info.status == "FINISHED"


def test_an_unfinished_step_is_found_without_its_id(root):
    """A kill between the run's start and the step's own record must not leave a second run."""
    tags = {"step": "f" * 32}
    first = tracking_on(root).start("ingest", tags=tags)
    assert tracking_on(root).start("ingest", tags=tags).run_id == first.run_id
    assert tracking_on(root).start("ingest", tags={"step": "0" * 32}).run_id != first.run_id
    first.finish("FINISHED")
    assert tracking_on(root).start("ingest", tags=tags).run_id != first.run_id


def test_a_run_that_the_journal_forgot_is_found_by_its_key(tracking, client):
    """Killed after MLflow made the run and before the journal had its id."""
    run = tracking.start("ingest")
    path = (tracking.root / "tracking" / f"{run.journal.key}.jsonl").local()
    kept = [line for line in path.read_text().splitlines() if not line.startswith(('{"run"', '{"sent"'))]
    first = run.run_id
    path.write_text("\n".join(kept) + "\n")
    tracking.server().ship(Journal(tracking.root, run.journal.key))
    assert Journal(tracking.root, run.journal.key).run_id == first
    run.finish("FINISHED")


def test_a_run_that_the_server_lost_is_made_again_from_the_journal(root, client, history):
    run = tracking_on(root).start("pretrain", params={"a": 1})
    run.log_metrics({"loss": 1.0}, 0)
    run.finish("FINISHED")
    client.delete_run(run.run_id)
    again = tracking_on(root).start("pretrain", run_id=run.run_id)
    again.log_metrics({"loss": 0.5}, 1)
    again.finish("FINISHED")
    assert history(again.run_id, "loss") == [(0, 1.0), (1, 0.5)]
    assert client.get_run(again.run_id).data.params == {"a": "1"}


def test_long_and_many_parameters(tracking, client):
    run = tracking.start("pipeline", params={"text": "x" * 2000} | {f"p{i:03d}": i for i in range(150)})
    run.finish("FINISHED")
    params = client.get_run(run.run_id).data.params
    assert len(params) == 99
    assert "p098" in params
    whole = client.download_artifacts(run.run_id, "params.json", str(tracking.root.local()))
    with open(whole) as file:
        assert len(json.load(file)) == 151


def test_a_refused_metric_does_not_hold_the_rest(tracking, history, capsys):
    run = tracking.start("pretrain")
    run.log_metrics({"loss [nats]": 1.0}, 0)
    run.set_tags({"after": "yes"})
    run.finish("FINISHED")
    assert "refused" in capsys.readouterr().out
    assert tracking.server().client.get_run(run.run_id).data.tags["after"] == "yes"


def test_logged_from_ray_workers(tracking, history, ray_cluster):
    run = tracking.start("pretrain")

    @ray.remote
    def train(logger, first: int) -> bool:
        for step in range(first, first + 3):
            logger.log_metrics({"loss": float(step)}, step)
        return "mlflow" in sys.modules

    assert not ray.get(train.remote(run, 0))
    ray.get(train.remote(run, 2))
    run.finish("FINISHED")
    assert history(run.run_id, "loss") == [(step, float(step)) for step in range(5)]


KILLED = """
import sys, time
from mlflow_root import tracking_on
from covr.storage import Place
run = tracking_on(Place(sys.argv[1])).start("pretrain", tags={"step": "1" * 32})
print(run.run_id, flush=True)
for step in range(10_000):
    run.log_metrics({"loss": step / 10_000}, step)
    time.sleep(0.001)
"""


def test_killed_and_run_again(root, history):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    run_id = process.stdout.readline().decode().strip()
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = tracking_on(root).start("pretrain", tags={"step": "1" * 32})
    assert run.run_id == run_id
    for step in range(2_000):
        run.log_metrics({"loss": step / 10_000}, step)
    run.finish("FINISHED")
    assert history(run_id, "loss") == [(step, step / 10_000) for step in range(2_000)]


def test_uris_that_cannot_be():
    with pytest.raises(UserError, match=r"not a tracking URI.*htp"):
        tracking_on(Place("/nowhere"), "htp://localhost:5000")
    with pytest.raises(UserError, match=r"trainer\.logger\.uri"):
        tracking_on(Place("memory://bucket/run"))
