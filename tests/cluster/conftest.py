"""One calm run and one cluster for all drills of a cluster."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_store import s3_store
from team_cluster import OPTIONS, WITHOUT_DROPOUT, Team, finish

from covr.storage import Place

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def calm(tmp_path_factory) -> Place:
    """The same jobs on one machine, with a Ray of their own: what every other run is held against."""
    out = tmp_path_factory.mktemp("calm")
    command = [sys.executable, "jobs/pipeline.py", *OPTIONS, f"out={out}", "machine.num_cpus=2"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Place(out)


@pytest.fixture(scope="session")
def team(tmp_path_factory) -> Iterator[Team]:
    with s3_store() as store:
        team = Team(store, tmp_path_factory.mktemp("mlflow"))
        try:
            yield team
        finally:
            team.stop()


@pytest.fixture(scope="session")
def whole(team) -> tuple[Place, str]:
    """The pipeline, undisturbed on the team's cluster: its root and what `covr submit` printed."""
    out = f"{team.store.root}/whole"
    return Place(out), finish(team.submit("pipeline", out))


@pytest.fixture(scope="session")
def without_dropout(team) -> Place:
    """The pipeline, undisturbed and with one worker: what runs with another number of workers are held against."""
    out = f"{team.store.root}/without-dropout"
    finish(team.submit("pipeline", out, *WITHOUT_DROPOUT))
    return Place(out)
