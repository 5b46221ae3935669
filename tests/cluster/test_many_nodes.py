"""The whole pipeline on a cluster of several nodes, a team's services beside it; again with everything that can die.

One calm run on one machine is the judge of all: its tables row for row, its loss curve, its metrics.
"""

from __future__ import annotations

import random
import re
import subprocess
import threading
import time

import pytest
from mlflow import MlflowClient
from ray_nodes import Nodes, free_port
from s3_store import s3_store
from team_cluster import (
    OFTEN,
    WITHOUT_DROPOUT,
    check_equal,
    check_tracked,
    curve,
    driver,
    finish,
    last_step,
    processes,
    running,
    submitted,
    wait_for,
)

from covr.storage import Place
from covr.tracking import Journal

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]
DECODE = "ray::MapWorker(MapBatches(Decode))"


def test_the_pipeline_on_many_nodes_equals_one_machine(calm, team, whole):
    root, printed = whole
    check_equal(root, calm)
    check_tracked(team, root)
    places = {
        name: {actor["node_id"] for actor in team.actors(name)} for name in ("Decode", "Encode", "RayTrainWorker")
    }
    assert all(len(nodes) == 1 for nodes in places.values()), places
    assert places["Encode"] == places["RayTrainWorker"] != places["Decode"]
    assert re.search(r"#/jobs/pipeline-\w{8}", printed)
    client = MlflowClient(team.tracking.uri)
    (evaluated,) = [j.run_id for j in Journal.all(root) if j.name == "evaluate"]
    assert "report.html" in {each.path for each in client.list_artifacts(evaluated)}
    assert Place(f"{team.store.root}/mlartifacts").list()  # behind the server, in the object store
    assert client.get_run(evaluated).data.tags["ray.submission"].startswith("pipeline-")


def test_everything_dies_once(calm, team):
    """A decode worker, a training worker at a random step, the driver, and the node that trains, in one run."""
    out = f"{team.store.root}/killed"
    root = Place(out)
    process = team.submit("pipeline", out, OFTEN)
    wait_for(lambda: running(root, "pretrain") and processes(DECODE, team.decoding), process)
    processes(DECODE, team.decoding)[0].kill()

    moment = random.Random(time.time()).randint(2, max(curve(calm, "pretrain")) - 2)
    wait_for(lambda: last_step(root, "pretrain") >= moment, process)
    (worker,) = processes("ray::RayTrainWorker", team.training)
    worker.kill()

    wait_for(lambda: running(root, "embed"), process)
    driver(out).kill()

    wait_for(lambda: last_step(root, "finetune/composed") >= 2, process)
    assert running(root, "finetune/composed")
    team.nodes.kill(team.training)
    team.training = team.add_training()
    printed = finish(process)
    assert printed.count("submitted again as pipeline-") == 1  # for the driver alone
    assert printed.count("going on from step") >= 2  # pretrain, finetune
    check_equal(root, calm)
    check_tracked(team, root)


def test_storage_fails_for_a_minute_and_mlflow_for_the_whole_run(calm, team):
    out = f"{team.store.root}/cut"
    root = Place(out)
    team.tracking.kill()
    try:
        process = team.submit("pipeline", out, OFTEN)
        wait_for(lambda: last_step(root, "pretrain") >= 2, process)
        team.store.wire.cut()
        threading.Timer(60, team.store.wire.mend).start()
        assert "submitted again" not in finish(process)  # it was waited for
        check_equal(root, calm)
        assert not any(journal.run_id for journal in Journal.all(root))  # nobody has heard of it
    finally:
        team.tracking.start()
    finish(team.submit("pipeline", out, OFTEN))  # all is done; what was logged follows
    check_tracked(team, root)


def test_another_number_of_workers_in_the_middle(without_dropout, team):
    """One worker until the driver is killed in stage 2, then two: the same rows a step, so the same losses."""
    out = f"{team.store.root}/two"
    root = Place(out)
    process = team.submit("pipeline", out, OFTEN, *WITHOUT_DROPOUT, retries=0)
    # Late enough for a checkpoint to be registered, which Ray Train does behind the step.
    wait_for(lambda: last_step(root, "finetune/composed") >= 6, process)
    driver(out).kill()
    process.communicate(timeout=120)
    assert process.returncode == 137
    assert last_step(root, "finetune/composed") < last_step(without_dropout, "finetune/composed")
    assert "going on from step" in finish(team.submit("pipeline", out, OFTEN, *WITHOUT_DROPOUT, "trainer.devices=2"))
    check_equal(root, without_dropout, tolerance=1e-3)


def test_the_head_is_restarted(calm, tmp_path):
    """With Redis behind it the head comes back as it was; what ran on the nodes goes on or is submitted again."""
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    with s3_store() as store:
        nodes = Nodes(num_cpus=0, redis=f"127.0.0.1:{port}", **store.env)
        try:
            nodes.add(num_cpus=3, resources='{"decode": 1, "train": 1}')
            root = Place(f"{store.root}/head")
            tracking = f"trainer.logger.uri=sqlite:///{tmp_path}/m.db"
            process = submitted(nodes, "pipeline", f"out={root}", OFTEN, tracking, "--cpus", "0.1")
            wait_for(lambda: last_step(root, "pretrain") >= 2, process)
            nodes.kill(nodes.head)
            time.sleep(3)
            nodes.start_head()
            finish(process)
            check_equal(root, calm)
        finally:
            nodes.stop()
            server.kill()
