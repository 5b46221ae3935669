"""How often and how many at once: a token bucket for each caller, and a bound on the requests in flight."""

from __future__ import annotations

import time
from collections.abc import Callable


class Rate:
    """`per_s` requests a second for each caller on average, `burst` of them at once.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s, self.burst, self._clock = per_s, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> float:
        """0 where the request may pass; otherwise the seconds until one may."""
        now = self._clock()
        tokens, since = self._buckets.get(caller, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self.per_s)
        passes = tokens >= 1
        self._buckets[caller] = (tokens - passes, now)
        return 0.0 if passes else (1 - tokens) / self.per_s
