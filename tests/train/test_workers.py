from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from covr.cluster.session import Cluster
from covr.errors import UserError
from covr.train.workers import Workers

TRAINER = OmegaConf.create(
    {
        "accelerator": "auto",
        "devices": 1,
        "devices_least": None,
        "threads": "auto",
        "resources": None,
        "precision": "32-true",
        "gradcache_rows": None,
        "gradient_checkpointing": False,
        "compile": False,
        "deterministic": False,
        "max_failures": 2,
        "checkpoint_every_s": 30,
        "log_every_n_steps": 10,
        "check_val_every_n_epoch": 1,
        "logger": {"system_metrics_s": None},
    }
)
LAPTOP, SERVER = Cluster(num_cpus=2, num_gpus=0), Cluster(num_cpus=16, num_gpus=2)


def workers(cluster=LAPTOP, data_cpus=0, **changed) -> Workers:
    return Workers.from_config(OmegaConf.merge(TRAINER, changed), cluster, data_cpus=data_cpus)


@pytest.mark.parametrize(
    ("cluster", "devices", "data_cpus", "threads"),
    [(LAPTOP, 1, 0, 2), (LAPTOP, 1, 1, 1), (LAPTOP, 2, 0, 1), (SERVER, 2, 4, 4)],
)
def test_threads_are_what_the_plan_leaves(cluster, devices, data_cpus, threads):
    found = workers(cluster, data_cpus, devices=devices)
    assert found.threads == threads
    assert found.num * (found.threads + found.data_cpus) <= cluster.num_cpus


def test_what_others_hold_is_left_to_them():
    """Beside an endpoint that held 0.6 of 4 CPUs a training that asked for all of them waited for ever."""
    beside = Cluster(num_cpus=4, num_gpus=0, free_cpus=3.4)
    assert workers(beside).threads == 3
    assert workers(beside, data_cpus=1).threads == 2
    assert workers(beside, devices=2).threads == 1
    assert workers(Cluster(num_cpus=4, num_gpus=0)).threads == 4


def test_only_the_least_number_of_workers_need_be_there():
    few = workers(LAPTOP, devices=4, devices_least=2)
    assert (few.num, few.num_least, few.threads) == (4, 2, 1)
    with pytest.raises(UserError, match="the plan needs 3 CPUs"):
        workers(LAPTOP, devices=4, devices_least=3)


def test_a_gpu_is_used_where_there_is_one():
    assert workers(SERVER).use_gpu
    assert not workers(SERVER, accelerator="cpu").use_gpu
    assert not workers(LAPTOP).use_gpu


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"devices": 3}, "the plan needs 3 CPUs"),
        ({"devices": 2, "devices_least": 3}, "devices_least=3.: give 1 to trainer.devices"),
        ({"threads": 4}, "the plan needs 4 CPUs"),
        ({"accelerator": "gpu"}, "1 GPUs are asked for but the cluster has 0"),
        ({"accelerator": "tpu"}, "no such accelerator"),
        ({"precision": "8-bit"}, "no such precision"),
        ({"gradcache_rows": 0}, "gradcache_rows=0.: give 1 or more"),
        ({"log_every_n_steps": 0}, "must be at least 1"),
    ],
)
def test_what_cannot_be_is_a_users_error(changed, message):
    with pytest.raises(UserError, match=message):
        workers(**changed)


def test_no_cpu_left_to_load_clips_is_a_users_error():
    with pytest.raises(UserError, match=r"training workers 1 \+ clip loading 1"):
        workers(Cluster(num_cpus=1, num_gpus=0), data_cpus=1)
