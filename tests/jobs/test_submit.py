"""The same job through `ray job submit`, on a cluster that the test starts and that the job leaves alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from covr.storage import Place, TableStore

REPO = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def dashboard():
    """The address of a one-node cluster's job server; every process of it ends with the test."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray's socket paths may have 107 characters
    dashboard_port = free_port()
    command = [
        RAY,
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        "--disable-usage-stats",
        "--node-ip-address=127.0.0.1",
    ]
    command += [f"--port={free_port()}", f"--dashboard-port={dashboard_port}", "--dashboard-host=127.0.0.1"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
    command += ["--object-store-memory=200000000", f"--temp-dir={folder}"]
    node = subprocess.Popen(
        command,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{dashboard_port}"
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        try:
            node.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)  # the GCS may not heed a polite signal
            node.wait()
        shutil.rmtree(folder, ignore_errors=True)


def connected(address: str) -> JobSubmissionClient:
    deadline = time.monotonic() + 60
    while True:
        try:
            return JobSubmissionClient(address)
        except (ConnectionError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


RAY_DATA = {"_AutoscalingCoordinatorActor", "_StatsActor", "ActorLocationTracker"}
"""Actors that Ray Data starts once a cluster and keeps for whoever comes next."""


def living_actors(dashboard: str) -> set[str]:
    found = httpx.get(f"{dashboard}/api/v0/actors", params={"detail": 1, "limit": 1000}).raise_for_status().json()
    return {actor["class_name"] for actor in found["data"]["result"]["result"] if actor["state"] != "DEAD"}


@pytest.mark.drill
@pytest.mark.ci_slice
@pytest.mark.timeout(600)
def test_the_submitted_loop_is_that_of_one_machine_and_leaves_the_cluster(dashboard, tmp_path):
    client = connected(dashboard)
    out = tmp_path / "out"
    submit = [RAY, "job", "submit", "--address", dashboard, "--working-dir", "."]
    submit += ["--runtime-env-json", json.dumps({"env_vars": {"PYTHONPATH": "platform"}})]
    job = [sys.executable, "jobs/pipeline.py", "experiment=tiny", "rows=[composed,chance]", f"out={out}"]
    submitted = subprocess.run(
        [*submit, "--", *job],
        cwd=REPO,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "query: " in submitted.stdout
    assert len(TableStore(Place(out / "tables" / "clips"), "clips").read()) == 128
    assert [row["row"] for row in Place(out / "results.json").read_json()["rows"]] == ["composed", "chance"]
    (job,) = client.list_jobs()
    assert job.status == JobStatus.SUCCEEDED
    assert client.get_version()  # the cluster goes on
    assert living_actors(dashboard) <= RAY_DATA  # no endpoint is left, and no worker
