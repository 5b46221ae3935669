"""Two people on one cluster: pipelines side by side, endpoints side by side; stopping one leaves the other."""

from __future__ import annotations

import json

import pytest
from team_cluster import check_equal, check_tracked, finish, running, wait_for

from covr.storage import Place

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]


def test_two_pipelines_side_by_side(calm, team):
    """One is stopped in the middle, the other does not notice; submitted again, it too gives what a calm run gives."""
    outs = [f"{team.store.root}/{person}" for person in ("ann", "bob")]
    ann, bob = (team.submit("pipeline", out, "machine.decode_workers=1") for out in outs)
    wait_for(lambda: running(Place(outs[1]), "embed"), bob)
    assert ann.poll() is None
    listed = json.loads(team.nodes.covr("jobs", "list", "--json").stdout)
    (found,) = [job["submission_id"] for job in listed if f"out={outs[1]}" in job["entrypoint"]]
    assert team.nodes.covr("jobs", "stop", found).stdout.strip() == "stopping"
    bob.communicate(timeout=120)
    assert bob.returncode != 0
    finish(ann)
    finish(team.submit("pipeline", outs[1], "machine.decode_workers=1"))
    for out in outs:
        check_equal(Place(out), calm)
        check_tracked(team, Place(out))
