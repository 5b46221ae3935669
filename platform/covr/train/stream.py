"""Batches made by Ray Data on CPU workers while a training worker steps, one stream for all remaining steps.

Ray Data only fetches: its rows are step numbers, in our order, and every row comes back as that step's batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import ray.data
from ray.data import DataContext, ExecutionOptions, ExecutionResources
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.exceptions import RayTaskError

from covr.errors import UserError

PAUSE_S = 0.02
BLOCK_BYTES = 8 << 20  # of a task's result: large enough to hide the cost of a task, small enough to start soon


class Pause(ExecutionCallback):
    """A short sleep in each round of Ray Data's scheduler.

    While all that may be made ahead is made, it has no task to wait for and goes round at the speed of a whole core.
    """

    def on_execution_step(self, executor: object) -> None:
        time.sleep(PAUSE_S)


def stream(
    load: Callable[[int], np.ndarray], first: int, last: int, *, cpus: int, batch_bytes: int
) -> Iterator[np.ndarray]:
    """`load(step)` for first <= step < last, in order, computed ahead on `cpus` CPUs of the cluster.

    Args:
        load: makes a batch from the step's number alone; picklable. All batches have one shape.
        batch_bytes: the size of a batch.

    Raises:
        UserError: `load` raised it.
    """
    if first >= last:
        return
    steps_per_task = max(1, BLOCK_BYTES // max(batch_bytes, 1))

    def load_block(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"batch": np.stack([load(first + int(row)) for row in rows["id"]])}

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.custom_execution_callback_classes = [*context.custom_execution_callback_classes, Pause]
    context.raise_original_map_exception = True
    context.execution_options = ExecutionOptions(
        resource_limits=ExecutionResources.for_limits(cpu=cpus), preserve_order=True
    )
    with DataContext.current(context):
        batches = ray.data.range(last - first, override_num_blocks=-(-(last - first) // steps_per_task)).map_batches(
            load_block, batch_size=None
        )
    # A split of one runs Ray Data's scheduler in an actor of its own: in this process it would fight the training
    # loop for the interpreter lock (measured: a third of the steps per second).
    (alone,) = batches.streaming_split(1)
    try:
        for batch in alone.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=2):
            yield batch["batch"][0]
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, UserError) else error) from None
