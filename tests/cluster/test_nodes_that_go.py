"""Nodes that the cloud takes away: with notice, and without one where training may go on with fewer."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from ray_nodes import BIN
from team_cluster import OFTEN, WITHOUT_DROPOUT, Team, curve, finish, last_step, wait_for

from covr.storage import Place

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1200)]


@pytest.fixture
def ingested(team, request) -> str:
    out = f"{team.store.root}/{request.function.__name__}"
    finish(team.submit("ingest", out))
    return out


def drain(team: Team, deadline_s: int) -> None:
    """What the autoscaler tells Ray when a spot machine, here the one that trains, is about to go."""
    (node,) = [
        each["node_id"]
        for each in team.nodes.get("/api/v0/nodes?detail=1")["data"]["result"]["result"]
        if each["state"] == "ALIVE" and "train" in each["resources_total"]
    ]
    words = ["--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    words += ["--address", f"127.0.0.1:{team.nodes.port}", "--deadline-remaining-seconds", str(deadline_s)]
    subprocess.run([BIN / "ray", "drain-node", *words], env=team.nodes.env, check=True, capture_output=True)


def test_a_notice_of_preemption_saves_at_once(team, ingested):
    """No checkpoint was due for an hour; the one that the notice asked for is what training goes on from."""
    root = Place(ingested)
    options = ("trainer.checkpoint_every_s=3600", "model.pretrain.max_epochs=40")
    process = team.submit("pretrain", ingested, *options)
    wait_for(lambda: last_step(root, "pretrain") >= 2, process)
    drain(team, deadline_s=30)
    saved_to = root / "pretrain" / "checkpoints"
    wait_for(
        lambda: any((saved_to / run / "checkpoint_manager_snapshot.json").exists() for run in saved_to.list()), process
    )
    team.nodes.kill(team.training)
    team.training = team.add_training()
    printed = finish(process)
    (saved,) = re.findall(r"a node will be taken away; saved at step (\d+)", printed)
    assert re.findall(r"going on from step (\d+)", printed) == [saved]
    steps = list(curve(root, "pretrain"))
    assert steps == list(range(1, len(steps) + 1))


def test_training_goes_on_with_fewer_workers(without_dropout, team, ingested):
    """Two nodes train, one is lost and none comes for it: the losses of one worker from the first step to the last."""
    root = Place(ingested)
    second = team.add_training()
    time.sleep(21)  # Ray Train knows of nodes by what it saw up to 20 s ago, and would begin with one
    options = ("trainer.resources={train: 1}", "trainer.devices=2", "trainer.devices_least=1", *WITHOUT_DROPOUT)
    process = team.submit("pretrain", ingested, OFTEN, *options)
    wait_for(lambda: last_step(root, "pretrain") >= 2, process)
    team.nodes.kill(second)
    printed = finish(process)
    assert "beginning from step 0" not in printed  # which is said of fewer alone
    assert re.search(r"going on from step \d+ of \d+, with 1 of 2 workers", printed)
    assert curve(root, "pretrain") == pytest.approx(curve(without_dropout, "pretrain"), abs=1e-3)
