"""`jobs/tune.py`: trials, killed and gone on with; the best YAML gives its number again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from ray import tune

from covr.errors import UserError
from covr.storage import Place
from covr.tune.job import configured, space, trial_name

REPO = Path(__file__).parents[2]
TRIAL, TRAIN = "ray::ImplicitFunc", "ray::RayTrainWorker"
SPACE = "tune.space={model.optimizer.lr:{low:1e-4,high:1e-2,log:true},+model.head:{choices:[null,16]}}"
TINY = ("experiment=tiny", "model.pretrain.max_epochs=1")
VALIDATIONS = "trainer.check_val_every_n_epoch=1"


def test_what_can_be_drawn():
    found = space(
        {"a": {"choices": [1, None]}, "b": {"low": 0.1, "high": 1.0, "log": True}, "c": {"low": 0, "high": 1}}
    )
    assert isinstance(found["a"], tune.search.sample.Categorical)
    assert found["b"].get_sampler() is not None
    assert found["c"].upper == 1
    with pytest.raises(UserError, match=r"nothing can be drawn from this \[tune.space.a\]"):
        space({"a": [1, 2]})


def test_a_draw_is_a_configuration_and_has_one_name():
    cfg = configured(("data.size=tiny",), {"model.optimizer.lr": 0.5, "+model.head": None})
    assert (cfg.model.optimizer.lr, cfg.model.head, list(cfg.rows)) == (0.5, None, ["composed"])
    assert trial_name({"a": 1, "b": 2}) == trial_name({"b": 2, "a": 1}) != trial_name({"a": 2, "b": 1})


def command(job: str, out: Path, *options: str) -> list[str]:
    return [sys.executable, f"jobs/{job}.py", f"out={out}", VALIDATIONS, *options]


def run(job: str, out: Path, *options: str) -> str:
    done = subprocess.run(command(job, out, *options), cwd=REPO, capture_output=True, text=True, timeout=700)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tune")
    for step in ("ingest", "pretrain", "embed"):
        run(step, out, *TINY)
    return out


def begun(root: Path, *options: str, output: int = subprocess.DEVNULL) -> subprocess.Popen:
    return subprocess.Popen(
        command("tune", root, *TINY, *options),
        cwd=REPO,
        start_new_session=True,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def titles(pid: int) -> Iterator[tuple[int, str]]:
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error, IndexError):
            yield process.pid, process.cmdline()[0]


def trials_of(root: Path) -> list[Any]:
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("covr").experiment_id], max_results=1000)
    return [run for run in runs if "/trial-" in run.info.run_name]


@pytest.mark.drill
@pytest.mark.timeout(700)
@pytest.mark.parametrize("title", [TRIAL, TRAIN])
def test_a_trial_whose_process_dies_comes_to_its_end(root, tmp_path, title):
    """On one CPU, which each trial has to give back, those that ASHA ends early as well."""
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    asked = ("tune.trials=3", "tune.grace_epochs=1", "tune.reduction=2", SPACE, "machine.num_cpus=1")
    process = begun(tmp_path, *asked, output=subprocess.PIPE)
    said, killed = "", 0
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if re.match(r"  trial-\w+  epoch ", line) and not killed:
            (killed, *_) = [pid for pid, name in titles(process.pid) if name.startswith(title)]
            os.kill(killed, signal.SIGKILL)
    assert process.wait() == 0, said
    assert killed
    assert "best of 3 trials" in said
    assert {run.info.status for run in trials_of(tmp_path)} == {"FINISHED", "KILLED"}


@pytest.mark.drill
@pytest.mark.timeout(1500)
def test_killed_it_goes_on_and_its_best_yaml_gives_its_number(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    asked = ("tune.trials=4", "tune.grace_epochs=1", "tune.reduction=2", SPACE)
    process = begun(tmp_path, *asked)

    def finished() -> list[Path]:
        records = tmp_path.glob("tune/trials/*/steps/finetune/*.json")
        return [path for path in records if Place(path).read_json()["state"] == "done"]

    while not finished() and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in finished()}
    said = run("tune", tmp_path, *TINY, *asked)
    assert "going on with the trials" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    best = Place(tmp_path / "tune" / "tune.json").read_json()
    trials = trials_of(tmp_path)
    assert len({run.info.run_name for run in trials}) == len(trials) == 4
    assert {run.info.status for run in trials} <= {"FINISHED", "KILLED"}
    best_model = (f"hydra.searchpath=[file://{tmp_path}/tune]", "model=best")
    run("finetune", tmp_path, *best_model, "data.size=tiny", "rows=[composed]", "trainer.threads=1")
    again = Place(tmp_path / "steps" / "finetune" / "composed.json").read_json()["result"]
    assert again["mAP@10"] == pytest.approx(best["mAP@10"], abs=1e-4)
