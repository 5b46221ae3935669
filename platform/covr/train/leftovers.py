"""What a training leaves behind in the cluster when it ends before its time.

Ray Train keeps the placement group of workers that were started, lost one, and were given no function yet; its own
cleaner is sent away first. A training whose driver is killed, as Ray Tune does with a trial that it ends early, is
cleaned up after through the dashboard, which a cluster may not have. The group's CPUs stay taken until the job ends,
and what comes next waits for them.
"""

from __future__ import annotations

import time

import ray
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]  # made by protobuf
from ray.util.placement_group import PlacementGroup, remove_placement_group

_PATIENCE_S = 20.0


def free_leftovers(watch_s: float | None = None) -> None:
    """Remove the placement groups of this job that dead actors made.

    Args:
        watch_s: for so long; None: until some were found, and no longer than a training needs to end.
    """
    deadline = time.monotonic() + (_PATIENCE_S if watch_s is None else watch_s)
    while True:
        found = _orphans()
        for group in found:
            remove_placement_group(group)
        if (found and watch_s is None) or time.monotonic() >= deadline:
            return
        time.sleep(0.5)


def _orphans() -> list[PlacementGroup]:
    """Whether a group's own entry calls its maker dead does not decide: one that was asked for just before that death
    is made after it, and never told."""
    job = ray.get_runtime_context().get_job_id()
    dead = state.actor_table(None, ray.JobID.from_hex(job), "DEAD")
    groups = map(PlacementGroupTableData.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [
        PlacementGroup(ray.PlacementGroupID(group.placement_group_id))
        for group in groups
        if group.state != PlacementGroupTableData.REMOVED
        and group.creator_job_id.hex() == job
        and group.creator_actor_id.hex() in dead
    ]
