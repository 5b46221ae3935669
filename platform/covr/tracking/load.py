"""The load of this machine, as MLflow's own monitors measure it: CPU, memory, disk, network and NVIDIA GPUs."""

from __future__ import annotations

import math
from contextlib import suppress

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

PREFIX = "system/"
"""Where MLflow's page of a run looks for them."""


class Load:
    """Samples of the machine that the driver runs on."""

    def __init__(self) -> None:
        self._monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with suppress(ImportError, RuntimeError):  # no nvidia-ml-py (extra `gpu`), or no GPU
            self._monitors.append(GPUMonitor())
        self.sample()  # a CPU's share is of the time since the sample before

    def sample(self) -> dict[str, float]:
        """Means since the last sample, as metrics `system/...`."""
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= {f"{PREFIX}{key}": float(value) for key, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return {key: value for key, value in found.items() if math.isfinite(value)}
