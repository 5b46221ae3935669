"""What dead actors reserved is freed; what the living and the driver reserved stays."""

from __future__ import annotations

import time

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from covr.train.leftovers import free_leftovers

pytestmark = pytest.mark.usefixtures("ray_cluster")


@ray.remote(num_cpus=0)
class Maker:
    def make(self) -> str:
        group = placement_group([{"CPU": 0.1}], lifetime="detached")  # as Ray Train makes its own
        ray.get(group.ready())
        return group.id.hex()


def states(*groups: str) -> list[str]:
    table = placement_group_table()
    return [table[group]["state"] for group in groups]


def test_only_the_groups_of_the_dead_are_freed():
    dead, living = Maker.remote(), Maker.remote()
    own = placement_group([{"CPU": 0.1}])
    ray.get(own.ready())
    groups = [ray.get(dead.make.remote()), ray.get(living.make.remote()), own.id.hex()]
    ray.kill(dead)
    free_leftovers()
    deadline = time.monotonic() + 10
    while states(groups[0]) != ["REMOVED"] and time.monotonic() < deadline:
        time.sleep(0.1)
    free_leftovers(watch_s=1)
    assert states(*groups) == ["REMOVED", "CREATED", "CREATED"]
    ray.kill(living)
    free_leftovers()
    remove_placement_group(own)
