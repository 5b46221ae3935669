"""What is wrong with the nodes of a cluster: looked at on each of them, by a job that the doctor submits."""

from __future__ import annotations

import json
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from typing import Any

import ray
from omegaconf import DictConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from covr.cluster.session import connect
from covr.config.compose import compose
from covr.doctor import packages, services, storage, video
from covr.doctor.finding import Check, Finding, findings
from covr.storage import Place

MARK = "covr doctor found: "
"""Before the line of the job's log that holds the findings as JSON."""
SKEW_S = 2.0
"""Clocks further apart than this put metrics and logs out of order, and are refused by object stores at minutes."""


class Looker:
    """An actor on one node."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self.cfg = compose(overrides)

    def look(self, probe: str, content: bytes) -> list[Finding]:
        """The checks of a machine; `probe` is a file that the driver wrote below the storage root."""
        checks: dict[str, Check] = {
            "packages": packages.packages,
            "twins": packages.twins,
            "codecs": video.codecs,
            "decoders": video.decoders,
            "storage": partial(storage.storage, self.cfg.out),
            "shared storage": partial(_shared, probe, content),
            "MLflow": partial(services.mlflow, self.cfg),
        }
        return [finding for name, check in checks.items() for finding in findings(name, check)]

    def versions(self) -> dict[str, str]:
        """Python and every distribution that is installed."""
        found = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
        return {**found, "Python": "{}.{}.{}".format(*sys.version_info)}

    def gpus(self) -> int:
        import torch

        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def now(self) -> float:
        return time.time()


def examine_nodes(cfg: DictConfig, overrides: Sequence[str]) -> Iterator[Finding]:
    """Join the cluster and look at every node of it, side by side; takes no CPU from other jobs' plans."""
    cluster = connect(cfg.machine)
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    names = {key: f"{node['NodeManagerAddress']} {key[:6]}" for key, node in nodes.items()}
    lookers: dict[str, Any] = {
        key: ray.remote(num_cpus=0)(Looker)  # type: ignore[call-overload]
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(key, soft=False))
        .remote(list(overrides))
        for key in nodes
    }
    yield Finding(check="nodes", found=f"{len(nodes)}: {', '.join(names.values())}; driver on {socket.gethostname()}")
    yield from findings("Ray", partial(services.joined, cfg, cluster, ray.get_runtime_context().gcs_address))
    yield from differences({names[k]: ray.get(looker.versions.remote()) for k, looker in lookers.items()})
    yield from skew({names[key]: _offset(looker) for key, looker in lookers.items()})
    for key, looker in lookers.items():
        yield _gpus(names[key], nodes[key]["Resources"].get("GPU", 0.0), ray.get(looker.gpus.remote()))
    content = uuid.uuid4().bytes
    root = Place(cfg.out)
    below = Place(storage.existing(root.local())) if root.is_local else root
    probe = below / f"{storage.PROBE}-{uuid.uuid4().hex[:8]}"
    try:
        probe.write_bytes(content)
        looks = {key: looker.look.remote(str(probe), content) for key, looker in lookers.items()}
        for key, look in looks.items():
            for finding in ray.get(look):
                yield Finding(**{**asdict(finding), "check": f"{finding.check} on {names[key]}"})
    finally:
        probe.remove()


def differences(versions: dict[str, dict[str, str]]) -> Iterator[Finding]:
    """Distributions whose versions are not the same on all nodes; what one node has and another lacks, too."""
    every = sorted({name for node in versions.values() for name in node})
    differing = {name: {node: found.get(name, "none") for node, found in versions.items()} for name in every}
    differing = {name: by_node for name, by_node in differing.items() if len(set(by_node.values())) > 1}
    fix = "start every node from one image or one requirements.lock"
    for name, by_node in differing.items():
        told = ", ".join(f"{version} on {node}" for node, version in by_node.items())
        decisive = name in ("Python", *packages.NAMED)
        yield Finding(check=f"versions of {name}", found=told, state="fault" if decisive else "advice", fix=fix)
    if not differing:
        yield Finding(check="versions", found=f"the same {len(every)} packages on all nodes")


def skew(offsets: dict[str, float]) -> Iterator[Finding]:
    """Clocks against the driver's, in seconds."""
    apart = max(offsets.values()) - min(offsets.values())
    told = f"{apart:.2f} s apart at most"
    if apart > SKEW_S:
        node = max(offsets, key=lambda name: abs(offsets[name]))
        fix = "run a time service (chrony) on every node"
        yield Finding(check="clocks", found=f"{told}; furthest off is {node}", state="fault", fix=fix)
    else:
        yield Finding(check="clocks", found=told)


def _offset(looker) -> float:
    """Of a node's clock, from the quickest of a few calls: the first of all waits for the actor to start."""
    best = (float("inf"), 0.0)
    for _ in range(4):
        before = time.time()
        theirs = ray.get(looker.now.remote())
        after = time.time()
        best = min(best, (after - before, theirs - (before + after) / 2))
    return best[1]


def _gpus(node: str, of_ray: float, of_torch: int) -> Finding:
    found = f"Ray counts {of_ray:g}, torch sees {of_torch}"
    if of_ray > of_torch:
        fix = "install the driver for this torch, or start the node with the number that works (--num-gpus)"
        return Finding(check=f"GPUs on {node}", found=found, state="fault", fix=fix)
    if of_torch > of_ray:
        return Finding(check=f"GPUs on {node}", found=found, state="advice", fix="start the node with --num-gpus")
    return Finding(check=f"GPUs on {node}", found=found)


def _shared(probe: str, content: bytes) -> Iterator[Finding]:
    place = Place(probe)
    if place.exists() and place.read_bytes() == content:
        yield Finding(check="shared storage", found="what another node wrote is there")
    else:
        fix = "give out= an object store, or a folder that is mounted on every node"
        yield Finding(check="shared storage", found="what another node wrote is missing", state="fault", fix=fix)


if __name__ == "__main__":
    words = sys.argv[1:]
    print(MARK + json.dumps([asdict(each) for each in examine_nodes(compose(words), words)]))
