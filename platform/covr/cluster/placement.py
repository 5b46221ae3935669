"""What a job asks of the cluster, held against its nodes before anything starts.

Ray waits for ever, without a word, for an actor that no node can hold: a cluster of two CPUs a node has no room for
one of four, whatever its total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from covr.cluster.session import Cluster
from covr.errors import UserError

_EPSILON = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Some workers of one kind."""

    name: str
    each: Mapping[str, float]
    """Ray resources that one of them holds: CPU, GPU, memory (bytes), and the cluster's own."""
    num: int = 1


def unplaced(demands: Sequence[Demand], nodes: Sequence[Mapping[str, float]]) -> Demand | None:
    """The first demand that does not fit beside the others, the largest placed first; None where all do."""
    free = [dict(node) for node in nodes]
    for demand in sorted(demands, key=lambda d: [-d.each.get(name, 0) for name in ("GPU", "CPU")]):
        for _ in range(demand.num):
            able = [node for node in free if holds(node, demand.each)]
            if not able:
                return demand
            # Where least is left over, and what needs no GPU away from GPUs.
            node = min(able, key=lambda n: (n.get("GPU", 0) > 0 and not demand.each.get("GPU"), n.get("CPU", 0)))
            for name, amount in demand.each.items():
                node[name] = node.get(name, 0) - amount
    return None


def require(demands: Sequence[Demand], cluster: Cluster) -> None:
    """Check that all of `demands` fit on the cluster at once.

    Raises:
        UserError: they do not: in sum, or not on any one node.
    """
    total = sum(demand.num * demand.each.get("CPU", 0) for demand in demands)
    have = sum(node.get("CPU", 0) for node in cluster.nodes)
    fix = "lower machine.decode_workers or trainer.devices, or use a larger cluster"
    if total > have + _EPSILON:
        parts = " + ".join(f"{demand.name} {demand.num * demand.each.get('CPU', 0):g}" for demand in demands)
        raise UserError(f"the plan needs {total:g} CPUs ({parts}) but the cluster has {have:g}", "machine", fix)
    for demand in demands:
        if not any(holds(node, demand.each) for node in cluster.nodes):
            raise UserError(
                f"no node holds one of {demand.name} ({_told(demand.each)}); nodes have {_nodes(cluster)}",
                "machine",
                "lower machine.*_resources, machine.encode_gpus or trainer.threads, or add such a node",
            )
    if (lacking := unplaced(demands, cluster.nodes)) is not None:
        plan = " + ".join(f"{demand.num} x {demand.name} ({_told(demand.each)})" for demand in demands)
        raise UserError(f"{lacking.name} finds no node beside {plan}; nodes have {_nodes(cluster)}", "machine", fix)


def largest(cluster: Cluster, name: str, needing: Mapping[str, float]) -> float:
    """The most of a resource that one node has, of those that hold `needing`; infinite where none does."""
    return max((node.get(name, 0.0) for node in cluster.nodes if holds(node, needing)), default=inf)


def holds(node: Mapping[str, float], each: Mapping[str, float]) -> bool:
    """Whether a node has as much of every resource."""
    return all(node.get(name, 0) + _EPSILON >= amount for name, amount in each.items())


def _told(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in resources.items())


def _nodes(cluster: Cluster) -> str:
    own = ("CPU", "GPU")
    kinds = [
        _told(
            {name: n for name, n in node.items() if name in own or not name.startswith(("node:", "memory", "object_"))}
        )
        for node in cluster.nodes
    ]
    return "; ".join(f"{kinds.count(kind)} x ({kind or 'nothing'})" for kind in dict.fromkeys(kinds))
