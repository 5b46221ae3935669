"""A function over many items as Ray tasks: a bounded number at a time, results in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import ray

from covr.report.console import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_batches(
    function: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], *, batch: int, label: str
) -> list[Result]:
    """`function` of each `batch` items, one result an item, on the cluster that this process has joined.

    A task may run twice where a worker is lost, so `function` must be safe to repeat.
    """

    @ray.remote(num_cpus=1)
    def task(part: Sequence[Item]) -> list[Result]:  # `function` may be a partial, which Ray does not take
        return function(part)

    starts = range(0, len(items), batch)
    results: dict[int, list[Result]] = {}
    waiting: dict[Any, int] = {}
    try:
        with progress(f"  {label}", len(items)) as advance:
            for start in starts:
                waiting[task.remote(items[start : start + batch])] = start
                if len(waiting) > 2 * ray.cluster_resources().get("CPU", 1):
                    advance(_collect(waiting, results))
            while waiting:
                advance(_collect(waiting, results))
    except Exception:
        _let_end(waiting)
        raise
    return [result for start in starts for result in results[start]]


def _collect(waiting: dict[Any, int], results: dict[int, list[Any]]) -> int:
    """Move the results of one finished task from `waiting` to `results`; return how many there were."""
    (task,), _ = ray.wait(list(waiting), num_returns=1)
    results[waiting.pop(task)] = found = ray.get(task)
    return len(found)


def _let_end(tasks: Iterable[Any]) -> None:
    """Look at what the others met too, often the same; Ray prints what nobody looked at, after the job's own line."""
    for task in tasks:
        with suppress(Exception):
            ray.get(task)
