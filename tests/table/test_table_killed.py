"""`jobs/table.py` killed among its trainings and run again: the table of a calm run, nothing trained twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from covr.storage import Place

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1500)]
REPO = Path(__file__).parents[2]
OPTIONS = (
    *("experiment=tiny", "rows=[text-only,average,ecde,ours]", "seeds=[0,1]"),
    *("model.pretrain.max_epochs=1", "model.finetune.max_epochs=3"),
)


def command(out: Path) -> list[str]:
    return [sys.executable, "jobs/table.py", *OPTIONS, f"out={out}"]


def run(out: Path) -> str:
    done = subprocess.run(command(out), cwd=REPO, capture_output=True, text=True, timeout=700)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_table_goes_on_where_it_was(tmp_path):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    run(calm)
    process = subprocess.Popen(
        command(killed), cwd=REPO, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    first = killed / "seed-0" / "steps" / "finetune" / "text-only.json"
    while not (first.exists() and Place(first).read_json()["state"] == "done") and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said = run(killed)
    assert "finetune/text-only: up to date" in said
    rows = [
        {row["row"]: row["seeds"] for row in Place(out / "results.json").read_json()["rows"]} for out in (calm, killed)
    ]
    assert rows[0].keys() == rows[1].keys()
    for row, seeds in rows[0].items():
        assert rows[1][row] == pytest.approx(seeds, abs=1e-3), row
    client = MlflowClient(f"sqlite:///{killed}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("covr").experiment_id], max_results=1000)
    names = Counter(run.info.run_name for run in runs)
    assert names["table"] == 1
    assert names["finetune/text-only"] == names["finetune/ours"] == names["finetune/average"] == 2  # one a seed
    assert {run.info.status for run in runs} == {"FINISHED"}
