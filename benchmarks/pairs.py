"""Ratios measured side by side: A and B by turns, so that what else happens on the machine happens to both.

A benchmark times A and B a few times, in the order AB BA AB ..., and reports the median of the pairs' ratios with
an interval, for wall time and for CPU time, as a line and as JSON with a description of the machine.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One run of A or B."""

    amount: float
    """What was done, in the benchmark's unit, e.g. steps."""
    wall_s: float
    cpu_s: float
    """Of all processes that did it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """The median of the pairs' ratios with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interleave(a: Callable[[], Timing], b: Callable[[], Timing], pairs: int) -> list[tuple[Timing, Timing]]:
    """Run A and B `pairs` times each, every other pair in the other order."""
    found = []
    for number in range(pairs):
        if number % 2 == 0:
            first, second = a(), b()
        else:
            second, first = b(), a()
        found.append((first, second))
        print(f"  pair {number + 1}/{pairs}: {_speed(first) / _speed(second):.3f}", flush=True)
    return found


class TreeCpu:
    """CPU seconds of this process and of all below it, since this was made.

    A process that ended counts with what it had spent when it was last looked at: nobody waits for Ray's processes, so
    that their seconds reach no parent.
    """

    def __init__(self) -> None:
        self._begin = self._look()
        self._last = dict(self._begin)

    def seconds(self) -> float:
        """Look again; call it often where processes come and go."""
        self._last |= self._look()
        return sum(spent - self._begin.get(process, 0.0) for process, spent in self._last.items())

    def _look(self) -> dict[tuple[int, float], float]:
        found = {}
        for process in (me := psutil.Process(), *me.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found[process.pid, process.create_time()] = sum(process.cpu_times()[:2])
        return found


def ratio_of(values: list[float]) -> Ratio:
    """Median and interval of the pairs' ratios."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Ratio(median=float(np.median(values)), low=float(low), high=float(high))


def report(name: str, pairs: list[tuple[Timing, Timing]], out: Path, **facts: Any) -> Mapping[str, Any]:
    """Print the ratios of A to B, write `<name>.json` into `out`, and return what it holds.

    `speed` is amount per second of wall time, larger is better; `cpu` is CPU seconds per amount, smaller is better.
    """
    ratios = {
        "speed": ratio_of([_speed(a) / _speed(b) for a, b in pairs]),
        "cpu": ratio_of([_cost(a) / _cost(b) for a, b in pairs]),
    }
    speeds = [float(np.median([_speed(pair[side]) for pair in pairs])) for side in (0, 1)]
    print(f"{name}: speed {ratios['speed']} ({speeds[0]:.1f}/s to {speeds[1]:.1f}/s), CPU {ratios['cpu']}", flush=True)
    result = {
        "name": name,
        **facts,
        "ratios": {key: asdict(value) for key, value in ratios.items()},
        "pairs": [{"a": asdict(a), "b": asdict(b)} for a, b in pairs],
        "machine": machine(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(result, indent=1))
    return result


def machine() -> dict[str, Any]:
    """What a number depends on beside the code: processor, load, versions, time."""
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("covr", "torch", "ray")}},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _speed(timing: Timing) -> float:
    return timing.amount / timing.wall_s


def _cost(timing: Timing) -> float:
    return timing.cpu_s / timing.amount
