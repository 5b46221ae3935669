"""The embed step as jobs run it."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from covr.embed.job import embed
from covr.errors import UserError
from covr.job import Job
from covr.storage import Place


@pytest.fixture
def job(root) -> Job:
    return Job.from_overrides([f"out={root.place}", "machine.decode_workers=1", "machine.batch_clips=4"])


@pytest.mark.usefixtures("ray_cluster")
def test_a_second_run_computes_nothing(root, job):
    root.add_videos(3)
    root.publish()
    encoder = root.train(seed=0)
    first = embed(job)
    assert (first["rows"], first["computed"], first["reused"], first["quarantined"]) == (3, 3, 0, 0)
    assert first["encoder"] == encoder.fingerprint()
    assert Place(first["place"]).exists()
    second = embed(job)
    assert (second["rows"], second["computed"], second["reused"]) == (3, 0, 3)


@pytest.mark.usefixtures("ray_cluster")
def test_shards_together_are_the_whole(root):
    root.add_videos(5)
    root.publish()
    root.train(seed=0)
    options = [f"out={root.place}", "machine.decode_workers=1", "machine.batch_clips=4"]
    shards = [Job.from_overrides([*options, "machine.num_shards=2", f"machine.shard_id={shard}"]) for shard in (0, 1)]
    assert [embed(shard)["computed"] for shard in shards] == [2, 3]
    assert embed(shards[0])["computed"] == 0
    whole = embed(Job.from_overrides(options))
    assert (whole["rows"], whole["computed"], whole["reused"]) == (5, 0, 5)
    with pytest.raises(UserError, match="0 <= shard_id < num_shards"):
        embed(Job.from_overrides([*options, "machine.num_shards=2", "machine.shard_id=2"]))


def test_a_step_that_is_missing_is_named(root, job):
    root.train(seed=0)
    with pytest.raises(UserError, match=r"run jobs/ingest.py first"):
        embed(job)
    root.publish()
    root.model.remove()
    with pytest.raises(UserError, match=r"run jobs/pretrain.py first"):
        embed(job)


PROGRAM = """
import sys
from omegaconf import OmegaConf
import ray
from covr.cluster.session import shutdown
from covr.embed.job import embed_clips
from covr.storage import Place
machine = OmegaConf.create(sys.argv[2])
machine.num_cpus = 1
root = Place(sys.argv[1])
print(embed_clips(root, root / "pretrain/model", machine)["computed"], ray.cluster_resources()["CPU"])
shutdown()
"""


def test_one_cpu_is_enough(root, machine):
    """Ray Data would wait for ever if a plan held all CPUs."""

    root.add_videos(9)
    root.publish()
    root.train(seed=0)
    command = [sys.executable, "-c", PROGRAM, str(root.place), OmegaConf.to_yaml(machine)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.stdout.strip().splitlines()[-1] == "9 1.0", done.stderr[-2000:]
