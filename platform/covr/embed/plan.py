"""How the CPUs and GPUs of a cluster are shared between decoding and encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from omegaconf import DictConfig

from covr.cluster.placement import Demand, holds, largest, require, unplaced
from covr.cluster.session import Cluster
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
    encode_gpus: float
    """Of each; 0: the encoder runs on the CPU."""
    encode_workers: int = 1
    decode_workers_most: int = 1
    """Reached where the autoscaler adds nodes."""
    decode_resources: Mapping[str, float] = field(default_factory=dict)
    encode_resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def encode_threads(self) -> int:
        return max(1, int(self.encode_cpus))

    @property
    def encode_device(self) -> str:
        return "cuda" if self.encode_gpus else "cpu"


def plan(machine: DictConfig, cluster: Cluster, accelerator: Accelerator = "auto") -> Plan:
    """A CPU for each decode worker and the others to the encoders; equal shares of a CPU where there are too few.

    Raises:
        UserError: what is asked for does not fit on the cluster's nodes, or it has no GPU where one is asked for.
    """
    if accelerator == "gpu" and cluster.num_gpus < 1:
        raise UserError("the cluster has no GPU", "trainer.accelerator=gpu", "use auto or cpu")
    decode_resources = dict(machine.decode_resources or {})
    encode_resources = dict(machine.encode_resources or {})
    gpus = float(machine.encode_gpus) if cluster.num_gpus > 0 and accelerator != "cpu" else 0.0
    encoders = max(1, int(cluster.num_gpus / gpus)) if gpus else 1
    if machine.encode_workers != "auto":
        encoders = int(machine.encode_workers)
    auto = machine.decode_workers == "auto"
    most = sum(node.get("CPU", 0) for node in cluster.nodes)
    have = cluster.num_cpus or most  # a cluster may have scaled down to its head
    room = sum(int(node.get("CPU", 0)) for node in cluster.nodes if holds(node, decode_resources))

    def decoders(num_cpus: float) -> int:
        """Half of the CPUs beside encoders on CPUs; beside encoders on GPUs all but the one that feeds each of them."""
        beside_gpus = int(num_cpus - encoders - _RAY_DATA) if gpus else 0
        return max(1, min(room, max(int(num_cpus // 2), beside_gpus)))

    workers = decoders(have - cluster.held_cpus) if auto else int(machine.decode_workers)
    require(_demands(workers, _LEAST, {}, encoders, _LEAST, {}), cluster)  # in sum: names the option to lower
    free = max(have - cluster.held_cpus - _RAY_DATA, _LEAST * (workers + encoders))
    share = min(1.0, free / (workers + encoders))
    encode = {**encode_resources, **({"GPU": gpus} if gpus else {})}
    rest = (free - share * workers) / encoders
    cpus = min(rest, largest(cluster, "CPU", encode)) if share == 1.0 else share
    while cpus > 1 and unplaced(_demands(workers, share, decode_resources, encoders, cpus, encode), cluster.nodes):
        cpus = max(1.0, cpus - 1)
    require(_demands(workers, share, decode_resources, encoders, cpus, encode), cluster)
    return Plan(
        decode_workers=workers,
        decode_workers_most=max(workers, decoders(most)) if auto else workers,
        decode_cpus=share,
        decode_resources=decode_resources,
        encode_workers=encoders,
        encode_cpus=cpus,
        encode_gpus=gpus,
        encode_resources=encode_resources,
    )


def _demands(
    decoders: int, decode_cpus: float, decode: Mapping[str, float], encoders: int, cpus: float, encode: Mapping
) -> list[Demand]:
    return [
        Demand(name="decode", num=decoders, each={"CPU": decode_cpus, **decode}),
        Demand(name="encode", num=encoders, each={"CPU": cpus, **encode}),
        Demand(name="Ray Data", each={"CPU": _RAY_DATA}),
    ]
