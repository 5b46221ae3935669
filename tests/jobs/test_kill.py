"""Every step of the pipeline, run twice and killed once, yields the tables of a calm run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import calm_run
import pytest
from calm_run import RECORDS, REPO, record, run
from mlflow import MlflowClient

pytestmark = [pytest.mark.drill, pytest.mark.ci_slice, pytest.mark.timeout(1800)]


def run_and_kill(step: str, out: Path, after_s: float) -> None:
    """SIGKILL of the driver's whole process group, `after_s` seconds into the step's own work.

    A step that was done by then, because the calm run was slower, is begun again from what was there and killed sooner.
    """
    before = out.with_name(f"{out.name}-before-{step.replace('/', '-')}")
    shutil.copytree(out, before)
    while True:
        process = subprocess.Popen(
            calm_run.command(calm_run.job_of(step), out),
            cwd=REPO,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
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


@pytest.fixture(scope="module")
def killed(tmp_path_factory, calm):
    out = tmp_path_factory.mktemp("killed")
    moments = random.Random(0)
    for step in RECORDS:
        run_and_kill(step, out, moments.uniform(0.05, 0.5) * record(step, calm)["seconds"])
        for _ in range(2):
            run(step, out)
    return out


def test_tables_equal_a_calm_run(calm, killed):
    calm_run.assert_same_tables(calm, killed)


def test_trained_weights_equal_a_calm_run(calm, killed):
    calm_run.assert_same_models(calm, killed)


def test_rankings_and_metrics_equal_a_calm_run(calm, killed):
    calm_run.assert_same_results(calm, killed)


def test_one_mlflow_run_a_step_and_no_metric_twice(killed):
    client = MlflowClient(f"sqlite:///{killed}/mlflow.db")
    experiment = client.get_experiment_by_name("covr")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    names = Counter(each.info.run_name for each in found)
    assert names.keys() >= RECORDS.keys()
    assert set(names.values()) == {1}
    assert {each.info.status for each in found} == {"FINISHED"}
    for each in found:
        for key in each.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(each.info.run_id, key)]
            assert len(steps) == len(set(steps)), f"{each.info.run_name}: {key}"
