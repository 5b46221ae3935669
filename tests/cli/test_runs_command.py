"""`covr runs` on a real database."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from mlflow_root import tracking_on
from typer.testing import CliRunner

from covr.cli.main import commands
from covr.errors import UserError
from covr.storage import Place


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Place:
    """Two pipelines that differ in one parameter."""
    root = Place(tmp_path_factory.mktemp("runs"))
    tracking = tracking_on(root)
    for lr, value in (("0.001", 41.5), ("0.0001", 60.25)):
        pipeline = tracking.start("pipeline", params={"lr": lr, "seed": 1})
        step = tracking.start("evaluate", parent_run=pipeline.run_id, params={"depth": 10})
        step.log_metrics({"mAP@10": value, "chance/mAP@10": 0.5})
        step.finish("FINISHED")
        pipeline.finish("FINISHED")
    return root


def invoke(*words: str):
    return CliRunner(env={"COLUMNS": "100"}).invoke(commands, ["runs", *words], catch_exceptions=False)


def test_table(root):
    lines = [
        line for line in invoke("--out", str(root)).output.splitlines() if "pipeline" in line or "evaluate" in line
    ]
    assert [line.split()[0] for line in lines[:4]] == ["pipeline", "evaluate", "pipeline", "evaluate"]
    assert "60.25" in lines[1]  # the newest first
    assert "41.5" in lines[3]
    assert lines[1].index("evaluate") == lines[0].index("pipeline") + 2
    assert [line.split(": ")[1] for line in lines[4:]] == ["lr=0.0001", "lr=0.001"]


def test_json(root):
    found = json.loads(invoke("--out", str(root), "--json").output)
    assert [run["name"] for run in found] == ["pipeline", "evaluate"] * 2
    assert found[1]["parent"] == found[0]["run_id"]
    assert found[1]["metrics"] == {"mAP@10": 60.25, "chance/mAP@10": 0.5}
    assert found[0]["differs"] == {"lr": "0.0001"}


def test_nothing_to_show_is_one_line(root):
    result = invoke("--out", str(root), "--experiment", "other")
    assert result.exit_code == 0
    assert result.output.strip() == f"no runs in experiment 'other' at {root}"


@pytest.mark.parametrize("words", [("--out", "/nowhere"), ("--uri", "http://127.0.0.1:9")])
def test_mistakes(words):
    with pytest.raises(UserError):
        invoke(*words)


def test_a_mistake_is_one_line_and_status_2():
    script = "from covr.cli.main import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", script, "runs", "--out", "/nowhere"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.strip()
        == "error: no runs are tracked here [/nowhere]: run a job with out=..., or give --out or --uri"
    )
