"""The pipeline with its driver, its decode workers and its training workers killed at random moments, ten times each.

Whoever was killed, and with the same command again, the outcome is that of a calm run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import calm_run
import pytest
from calm_run import RECORDS
from worker_lives import WORKERS, Lives

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]
AWAY = "trainer.logger.uri=http://127.0.0.1:9"  # test_kill.py looks into MLflow; here the journals are enough
DRIVER_MOMENTS = 10
WORKER_PIPELINES = 5  # in each, two decode workers and two training workers are killed


def moment(calm: Path, number: int) -> tuple[str, float]:
    """A random moment of the number-th tenth of a calm run's work: the step, and seconds into it."""
    seconds = {step: calm_run.record(step, calm)["seconds"] for step in RECORDS}
    at = (number + random.Random(number).random()) / DRIVER_MOMENTS * sum(seconds.values())
    for step, length in seconds.items():
        if at < length:
            return step, at
        at -= length
    raise AssertionError("beyond the end")


@pytest.mark.parametrize("number", range(DRIVER_MOMENTS))
def test_driver_killed(calm, tmp_path, number):
    step, after_s = moment(calm, number)
    due: list[float] = []

    def kill(process: subprocess.Popen, running: str) -> None:
        if running == step and not due:
            due.append(time.monotonic() + after_s)
        if due and time.monotonic() >= due[0]:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    assert calm_run.pipeline(tmp_path, kill, AWAY) == -signal.SIGKILL
    assert calm_run.pipeline(tmp_path, lambda *_: None, AWAY) == 0, calm_run.said(tmp_path)
    calm_run.assert_same(calm, tmp_path)


def _fifth(number: int, draw: random.Random) -> float:
    """A moment of the number-th fifth of a worker's life, whose last quarter is left out: it may be over sooner."""
    return 0.75 * (number + draw.random()) / WORKER_PIPELINES


@pytest.mark.parametrize("number", range(WORKER_PIPELINES))
def test_workers_killed(calm_and_lives, tmp_path, number):
    calm, calm_lives = calm_and_lives
    draw = random.Random(number)
    lives = Lives({who: _fifth(number, draw) * seconds for who, seconds in calm_lives.seconds.items()})
    status = calm_run.pipeline(tmp_path, lambda _, step: lives.look(step), AWAY)
    assert lives.killed == WORKERS.keys(), calm_run.said(tmp_path)
    assert status == 0, calm_run.said(tmp_path)  # a lost worker is replaced, not the user's to mend
    calm_run.assert_same(calm, tmp_path)
