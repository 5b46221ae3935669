"""The pipeline with its driver, decode and training workers killed at ten random moments each, and encoders at five.

Whoever was killed, and with the same command again, the outcome is that of a calm run. The driver's ten moments are in
two pipelines, each killed and run again five times before it comes to its end.
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
DRIVER_PIPELINES, DRIVER_MOMENTS = 2, 10
WORKER_PIPELINES = 5  # in each, two decode workers, an encoder and two training workers are killed


def moments(calm: Path, pipeline: int) -> list[tuple[str, float]]:
    """A random moment of every other tenth of a calm run's work: the step, and seconds into it."""
    seconds = {step: calm_run.record(step, calm)["seconds"] for step in RECORDS}
    draw, found = random.Random(pipeline), []
    for tenth in range(pipeline, DRIVER_MOMENTS, DRIVER_PIPELINES):
        at = (tenth + draw.random()) / DRIVER_MOMENTS * sum(seconds.values())
        for step, length in seconds.items():
            if at < length:
                found.append((step, 0.75 * at))  # the last quarter is left out: the step may be over sooner
                break
            at -= length
    return found


@pytest.mark.parametrize("pipeline", range(DRIVER_PIPELINES))
def test_driver_killed(calm, tmp_path, pipeline):
    order = list(RECORDS)
    for step, after_s in moments(calm, pipeline):
        due: list[float] = []

        def kill(process: subprocess.Popen, running: str, step=step, after_s=after_s, due=due) -> None:
            if running and order.index(running) >= order.index(step) and not due:
                due.append(time.monotonic() + (after_s if running == step else 0))
            if due and time.monotonic() >= due[0]:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

        assert calm_run.pipeline(tmp_path, kill, AWAY) == -signal.SIGKILL, calm_run.said(tmp_path)
    assert calm_run.pipeline(tmp_path, lambda *_: None, AWAY) == 0, calm_run.said(tmp_path)
    calm_run.assert_same(calm, tmp_path)


def _fifth(number: int, draw: random.Random) -> float:
    """A moment of the number-th fifth of a worker's life, whose last quarter is left out: it may be over sooner."""
    return 0.75 * (number + draw.random()) / WORKER_PIPELINES


@pytest.mark.parametrize("number", range(WORKER_PIPELINES))
def test_workers_killed(calm_and_lives, tmp_path, number):
    calm, calm_lives = calm_and_lives
    assert calm_lives.seconds.keys() == WORKERS.keys()
    draw = random.Random(number)
    lives = Lives({who: _fifth(number, draw) * seconds for who, seconds in calm_lives.seconds.items()})
    status = calm_run.pipeline(tmp_path, lambda _, step: lives.look(step), AWAY)
    assert lives.killed == WORKERS.keys(), calm_run.said(tmp_path)
    assert status == 0, calm_run.said(tmp_path)  # a lost worker is replaced, not the user's to mend
    calm_run.assert_same(calm, tmp_path)
