"""Every step of the pipeline, run twice and killed once, yields the tables of a calm run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from mlflow import MlflowClient
from safetensors.numpy import load_file

from covr.storage import Place, TableStore

pytestmark = [pytest.mark.drill, pytest.mark.ci_slice, pytest.mark.timeout(1800)]
REPO = Path(__file__).parents[2]
STEPS = ("ingest", "pretrain", "embed", "finetune", "index", "evaluate")
RECORDS = {step: f"steps/{step}.json" for step in STEPS} | {"finetune": "steps/finetune/composed.json"}
OPTIONS = (
    "data.size=tiny",
    "experiment=tiny",
    "rows=[composed,text-only,average,chance]",
)


def command(step: str, out: Path) -> list[str]:
    address = ray.get_runtime_context().gcs_address
    return [sys.executable, f"jobs/{step}.py", *OPTIONS, f"out={out}", f"machine.address={address}"]


def run(step: str, out: Path) -> None:
    done = subprocess.run(command(step, out), cwd=REPO, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{step}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def record(step: str, out: Path) -> dict:
    place = Place(out / RECORDS[step])
    return place.read_json() if place.exists() else {"state": "not begun"}


def run_and_kill(step: str, out: Path, after_s: float) -> None:
    """SIGKILL of the driver's whole process group, `after_s` seconds into the step's own work.

    A step that was done by then, because the calm run was slower, is begun again from what was there and killed sooner.
    """
    before = out.with_name(f"{out.name}-before-{step}")
    shutil.copytree(out, before)
    while True:
        process = subprocess.Popen(
            command(step, out), cwd=REPO, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while record(step, out)["state"] == "not begun" and process.poll() is None:
            time.sleep(0.002)
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if record(step, out)["state"] == "running":
            return
        assert after_s > 0.01, f"{step} was not killed in the middle"
        after_s /= 2
        shutil.rmtree(out)
        shutil.copytree(before, out)


def rows(out: Path, name: str) -> pa.Table:
    """All rows of a table, wherever its parts lie, in an order that does not depend on the parts."""
    places = {
        "features": list((out / "features").glob("*")),
        "runs": sorted((out / "runs").glob("*")),
    }.get(name, [out / "tables" / name])
    table = pa.concat_tables([TableStore(Place(place), name).read() for place in places])
    keys = [
        column
        for column in ("clip_id", "query_id", "rank", "stage", "gallery_id", "owner_id")
        if column in table.column_names
    ]
    return table.sort_by([(key, "ascending") for key in keys])


@pytest.fixture(scope="module")
def calm(tmp_path_factory, ray_cluster):
    out = tmp_path_factory.mktemp("calm")
    for step in STEPS:
        run(step, out)
    return out


@pytest.fixture(scope="module")
def killed(tmp_path_factory, calm):
    out = tmp_path_factory.mktemp("killed")
    moments = random.Random(0)
    for step in STEPS:
        run_and_kill(step, out, moments.uniform(0.05, 0.5) * record(step, calm)["seconds"])
        run(step, out)
        run(step, out)
    return out


@pytest.mark.parametrize("name", ["clips", "texts", "triplets", "galleries", "quarantine"])
def test_tables_equal_a_calm_run(calm, killed, name):
    assert rows(killed, name).equals(rows(calm, name))


def test_features_equal_a_calm_run(calm, killed):
    expected, found = rows(calm, "features"), rows(killed, "features")
    assert found["clip_id"].to_pylist() == expected["clip_id"].to_pylist()
    np.testing.assert_allclose(np.array(found["value"].to_pylist()), np.array(expected["value"].to_pylist()), atol=1e-5)


def test_trained_weights_equal_a_calm_run(calm, killed):
    for expected in calm.glob("retrievers/*/*.safetensors"):
        found = killed / expected.relative_to(calm)
        weights, others = load_file(expected), load_file(found)
        assert weights.keys() == others.keys()
        for key, weight in weights.items():
            np.testing.assert_allclose(others[key], weight, atol=1e-4, err_msg=f"{expected.name}: {key}")


def test_rankings_and_metrics_equal_a_calm_run(calm, killed):
    def metrics(out):
        return {row["row"]: row["metrics"] for row in Place(out / "results.json").read_json()["rows"]}

    expected, found = metrics(calm), metrics(killed)
    assert found.keys() == expected.keys()
    for row, values in expected.items():
        assert found[row] == pytest.approx(values, abs=1e-3), row


def test_one_mlflow_run_a_step_and_no_metric_twice(killed):
    client = MlflowClient(f"sqlite:///{killed}/mlflow.db")
    experiment = client.get_experiment_by_name("covr")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    names = Counter(run.info.run_name for run in runs)
    assert names.keys() >= {"ingest", "pretrain", "embed", "finetune/composed", "index", "evaluate"}
    assert set(names.values()) == {1}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        for key in run.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), f"{run.info.run_name}: {key}"
