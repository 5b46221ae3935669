"""What the cluster's object stores had to put on disk."""

from __future__ import annotations

import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address


def spilled_bytes() -> int:
    """Bytes that all nodes' object stores have spilled since they started, for whoever filled them."""
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return get_memory_info_reply(state).store_stats.spilled_bytes_total
