"""A share of the clips, for machines that do not form one cluster."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from omegaconf import DictConfig

from covr.errors import UserError


def of_shard(clips: pa.Table, machine: DictConfig) -> pa.Table:
    """The clips of shard `machine.shard_id` of `machine.num_shards`: a contiguous slice of the sorted ids.

    Args:
        clips: with the column clip_id, whose repeated rows stay together.

    Raises:
        UserError: no such shard.
    """
    num, shard = machine.num_shards, machine.shard_id
    if not 0 <= shard < num:
        fix = "count from 0: 0 <= shard_id < num_shards"
        raise UserError("no such shard", f"machine.shard_id={shard} machine.num_shards={num}", fix)
    if num == 1:
        return clips
    ids = pc.unique(clips["clip_id"]).sort()
    first, last = len(ids) * shard // num, len(ids) * (shard + 1) // num
    return clips.filter(pc.is_in(clips["clip_id"], ids[first:last]))
