from __future__ import annotations

import pytest
import tiny_world

from covr.evaluate.queries import Queries
from covr.storage import Place


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Place:
    """A storage root after ingest; not to be written to."""
    root = Place(tmp_path_factory.mktemp("world"))
    tiny_world.build(root)
    return root


@pytest.fixture(scope="session")
def queries(world) -> Queries:
    return Queries.read(world, "test")
