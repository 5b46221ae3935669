"""`covr submit` and `covr jobs` against a real cluster with tokens, whose head has no CPU."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ray_nodes import COVR, Nodes
from wire import Wire

from covr.storage import Place, TableStore

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def nodes():
    nodes = Nodes(num_cpus=0)
    nodes.add(num_cpus=2)
    yield nodes
    nodes.stop()


def watched(nodes: Nodes, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", COVR, *words],
        env={**nodes.env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def driver(mark: str, deadline_s: float = 60) -> psutil.Process:
    """The driver of the job whose command line holds `mark`: the interpreter, not the shell around it."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if len(words) > 2 and words[1].startswith("jobs/") and any(mark in word for word in words):
                return process
        time.sleep(0.05)
    raise TimeoutError(mark)


def test_a_job_is_watched_through_a_cut_connection(nodes, tmp_path):
    wire, out = Wire(nodes.dashboard_port), tmp_path / "out"
    process = watched(nodes, "submit", "ingest", "experiment=tiny", f"out={out}", "--address", wire.address)
    driver(str(out))
    wire.cut()
    time.sleep(4)
    wire.mend()
    printed, told = process.communicate(timeout=500)
    assert process.returncode == 0, printed + told
    assert len(TableStore(Place(out / "tables" / "clips"), "clips").read()) == 128
    assert "no connection to" in told
    assert "WARNING" not in told
    assert f"{wire.address}/#/jobs/ingest-" in told
    (found,) = re.findall(r"^ingest-\w{8}", told, re.M)
    assert nodes.covr("jobs", "logs", found).stdout == printed  # every character once
    assert len(re.findall("^ingest: done", printed, re.M)) == 1
    (job,) = [job for job in json.loads(nodes.covr("jobs", "list", "--json").stdout) if job["submission_id"] == found]
    assert (job["status"], job["driver_exit_code"]) == ("SUCCEEDED", 0)
    again = nodes.covr("submit", "--attach", found)
    assert (again.returncode, again.stdout) == (0, printed)


def test_a_killed_driver_is_submitted_again_and_goes_on(nodes, tmp_path):
    out = tmp_path / "out"
    process = watched(nodes, "submit", "ingest", "experiment=tiny", f"out={out}")
    found = driver(str(out))
    while not (out / "steps" / "ingest.json").exists():
        time.sleep(0.05)
    os.kill(found.pid, signal.SIGKILL)
    printed, told = process.communicate(timeout=500)
    assert process.returncode == 0, printed + told
    assert "failed (exit status 137); submitted again as ingest-" in told
    assert len(TableStore(Place(out / "tables" / "clips"), "clips").read()) == 128


def test_a_users_error_is_the_jobs_exit_status_and_not_tried_again(nodes, tmp_path):
    done = nodes.covr("submit", "index", f"out={tmp_path}/empty")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "run jobs/finetune.py first" in done.stdout
    assert "submitted again" not in done.stderr


def test_a_job_that_is_stopped_leaves_the_cluster(nodes, tmp_path):
    begun = nodes.covr("submit", "ingest", "data.size=full", f"out={tmp_path}/out", "--detach", "--cpus", "0.5")
    found = begun.stdout.strip()
    driver(f"{tmp_path}/out")
    assert nodes.covr("jobs", "stop", found).stdout.strip() == "stopping"
    ended = nodes.covr("submit", "--attach", found)
    assert ended.returncode != 0
    assert nodes.covr("jobs", "stop", found).stdout.strip() == "it had ended before"
    listed = nodes.covr("jobs", "list")
    assert listed.returncode == 0
    assert found in listed.stdout
    assert nodes.covr("jobs", "logs", "no-such-job").returncode == 2


def test_without_the_token_nothing_is_told(nodes, tmp_path):
    other = tmp_path / "token"
    other.write_text("0" * 64)
    for words in (["--token-file", str(other)], []):
        done = nodes.covr("jobs", "list", *words, RAY_AUTH_TOKEN_PATH=str(other))
        assert done.returncode == 2
        assert done.stderr.startswith("error: the cluster asks for its token")
    assert nodes.covr("jobs", "list", "--token-file", str(Path(nodes.token))).returncode == 0


def test_the_doctor_looks_at_every_node(nodes, tmp_path):
    """All is well but for the clocks and packages of one machine, which are the same; nothing is left behind."""
    words = [f"out={tmp_path}/out", f"trainer.logger.uri=sqlite:///{tmp_path}/m.db"]
    done = nodes.covr("doctor", "--json", "--address", nodes.address, *words)
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, [each for each in found.values() if each["state"] == "fault"]
    assert found["nodes"]["found"].startswith("2: ")
    assert "answers 401" in found["token"]["found"]
    assert found["versions"]["found"].startswith("the same")
    assert len([name for name in found if name.startswith("shared storage on ")]) == 2
    assert len([name for name in found if name.startswith("codecs on ")]) == 2
    assert "doctor-" not in nodes.covr("jobs", "list").stdout
    away = nodes.covr(
        "doctor", "--json", "--address", nodes.address, *words[:1], "trainer.logger.uri=http://127.0.0.1:9"
    )
    faults = [each["check"] for each in json.loads(away.stdout)["findings"] if each["state"] == "fault"]
    assert away.returncode == 1
    assert [name.split(" on ")[0] for name in faults] == ["MLflow", "MLflow"]
