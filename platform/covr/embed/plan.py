"""How the CPUs and GPUs of a cluster are shared between decoding and encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omegaconf import DictConfig

from covr.cluster.session import Cluster, require
from covr.errors import UserError

Accelerator = Literal["auto", "cpu", "gpu"]

_LEAST = 0.4  # of a CPU, for one worker: two of them and Ray Data itself share a single CPU
_RAY_DATA = 0.1  # of a CPU, left over so that a plan never holds all of them: Ray Data would wait for ever


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Workers of the two stages and what each of them holds."""

    decode_workers: int
    decode_cpus: float
    encode_cpus: float
    """Of the one encode worker."""
    encode_gpus: int

    @property
    def encode_threads(self) -> int:
        return max(1, int(self.encode_cpus))

    @property
    def encode_device(self) -> str:
        return "cuda" if self.encode_gpus else "cpu"


def plan(machine: DictConfig, cluster: Cluster, accelerator: Accelerator = "auto") -> Plan:
    """One CPU a decode worker and the others to the encoder; equal shares of a CPU where there are too few.

    Raises:
        UserError: `machine.decode_workers` do not fit on the cluster, or it has no GPU where one is asked for.
    """
    if accelerator == "gpu" and cluster.num_gpus < 1:
        raise UserError("the cluster has no GPU", "trainer.accelerator=gpu", "use auto or cpu")
    auto = machine.decode_workers == "auto"
    workers = max(1, int(cluster.num_cpus // 2)) if auto else int(machine.decode_workers)
    require({"decode": _LEAST * workers, "encode": _LEAST, "Ray Data": _RAY_DATA}, cluster)
    free = cluster.num_cpus - _RAY_DATA
    share = min(1.0, free / (workers + 1))
    return Plan(
        decode_workers=workers,
        decode_cpus=share,
        encode_cpus=free - share * workers if share == 1.0 else share,
        encode_gpus=1 if cluster.num_gpus >= 1 and accelerator != "cpu" else 0,
    )
