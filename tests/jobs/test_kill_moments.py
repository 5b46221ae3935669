"""The pipeline with its driver, its decode workers and its training workers killed at random moments, ten times each.

Whoever was killed, and with the same command again, the outcome is that of a calm run. The driver's ten moments are in
two pipelines, each killed and run again five times before it comes to its end.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import calm_run
import pytest
from calm_run import RECORDS
from worker_lives import WORKERS, Lives

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]
AWAY = "trainer.logger.uri=http://127.0.0.1:9"  # test_kill.py looks into MLflow; here the journals are enough
DRIVER_PIPELINES, DRIVER_MOMENTS = 2, 5
WORKER_PIPELINES = 5  # in each, two decode workers and two training workers are killed


def gaps(calm: Path, seed: int) -> list[float]:
    """Seconds of work between the kills: their moments are uniform over the seconds that a calm run works."""
    seconds = sum(calm_run.record(step, calm)["seconds"] for step in RECORDS)
    moments = sorted(random.Random(seed).uniform(0, seconds) for _ in range(DRIVER_MOMENTS))
    return [moment - before for before, moment in pairwise([0.0, *moments])]


@pytest.mark.parametrize("seed", range(DRIVER_PIPELINES))
def test_driver_killed(calm, tmp_path, seed):
    hit = set()
    for gap in gaps(calm, seed):
        due: list[float] = []

        def kill(process: subprocess.Popen, running: str, gap: float = gap, due: list[float] = due) -> None:
            if running and not due:
                due.append(time.monotonic() + gap)
            if due and time.monotonic() >= due[0]:
                hit.add(running)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

        assert calm_run.pipeline(tmp_path, kill, AWAY) == -signal.SIGKILL, calm_run.said(tmp_path)
    assert len(hit) > 1, hit  # not all in one step
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
