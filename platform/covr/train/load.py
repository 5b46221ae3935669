"""What one training worker takes of its machine, as metrics of its run."""

from __future__ import annotations

import time

import psutil
import torch


class WorkerLoad:
    """Samples of this process, at most one in `every_s` seconds; MLflow's page of a run groups them as system metrics.

    The machine of the driver has metrics of its own, see `covr.tracking.load`.
    """

    def __init__(self, rank: int, every_s: float | None) -> None:
        self.every_s, self.prefix = every_s, f"system/worker_{rank}/"
        self._process, self._sampled_at = psutil.Process(), time.monotonic()
        self._process.cpu_percent()  # a share is of the time since the call before

    def sample(self) -> dict[str, float]:
        """Per cent of one core, and MB; empty where it is not time yet."""
        now = time.monotonic()
        if self.every_s is None or now - self._sampled_at < self.every_s:
            return {}
        self._sampled_at = now
        found = {
            "cpu_utilization_percentage": self._process.cpu_percent(),
            "memory_usage_megabytes": self._process.memory_info().rss / 1e6,
        }
        if torch.cuda.is_available():
            found["gpu_memory_usage_megabytes"] = torch.cuda.memory_reserved() / 1e6
        return {f"{self.prefix}{name}": value for name, value in found.items()}
