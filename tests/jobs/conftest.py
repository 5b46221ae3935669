"""One calm run of the tiny pipeline, which every drill is held against."""

from __future__ import annotations

from pathlib import Path

import calm_run
import pytest
from worker_lives import Lives


@pytest.fixture(scope="session")
def calm_and_lives(tmp_path_factory, ray_cluster) -> tuple[Path, Lives]:
    """Its storage root, and how long its workers lived."""
    out, lives = tmp_path_factory.mktemp("calm"), Lives({})
    assert calm_run.pipeline(out, lambda _, step: lives.look(step)) == 0, calm_run.said(out)
    return out, lives


@pytest.fixture(scope="session")
def calm(calm_and_lives) -> Path:
    return calm_and_lives[0]
