from __future__ import annotations

import pytest
import tiny_report
import tiny_world

from covr.evaluate.queries import Queries
from covr.evaluate.rank import rank_randomly
from covr.storage import Place


@pytest.fixture(scope="session")
def filmed(tmp_path_factory) -> Place:
    """A storage root after ingest; not to be written to."""
    root = Place(tmp_path_factory.mktemp("filmed"))
    tiny_world.build(root)
    return root


@pytest.fixture(scope="session")
def asked(filmed) -> Queries:
    return Queries.read(filmed, "test")


@pytest.fixture(scope="session")
def ranked(asked):
    """Random answers to every query."""
    ((group, clips),) = asked.groups("corrected")
    return rank_randomly(
        query_ids=group.triplets["query_id"].to_pylist(),
        query_clips=group.triplets["query_clip"].to_pylist(),
        gallery_clips=clips,
        depth=100,
        seed=0,
    )


@pytest.fixture(scope="session")
def root(filmed, tmp_path_factory) -> Place:
    """With stage 1 and its curve; not to be written to."""
    return tiny_report.build(filmed, tmp_path_factory.mktemp("reported") / "root")


@pytest.fixture(scope="session")
def html(root, asked, ranked) -> str:
    return tiny_report.rendered(root, asked, ranked)
