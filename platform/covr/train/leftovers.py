"""What a training leaves behind in the cluster when Ray Train gives up on it before its workers have begun.

Ray Train keeps the placement group of workers that were started, lost one, and were given no function yet; its own
cleaner is sent away first. The group's CPUs stay taken until this process ends, and what comes next waits for them.
"""

from __future__ import annotations

import time

import ray
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]  # made by protobuf
from ray.util.placement_group import PlacementGroup, remove_placement_group

_PATIENCE_S = 20.0


def free_leftovers() -> None:
    """Remove the placement groups of this job whose trainings have ended; wait a little for one that is ending."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (found := _orphans()) and time.monotonic() < deadline:
        time.sleep(0.5)
    for group in found:
        remove_placement_group(group)


def _orphans() -> list[PlacementGroup]:
    job = ray.get_runtime_context().get_job_id()
    groups = map(PlacementGroupTableData.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [
        PlacementGroup(ray.PlacementGroupID(group.placement_group_id))
        for group in groups
        if group.state == PlacementGroupTableData.CREATED
        and group.creator_job_id.hex() == job
        and group.creator_actor_dead
        and not ray.ActorID(group.creator_actor_id).is_nil()  # those of the driver itself, as Ray Tune's
    ]
