"""Start or join Ray once a process."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ray
from omegaconf import DictConfig
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.state import state

from covr.errors import UserError

_ours = False
"""Whether `connect` brought Ray up in this process, and not what called it."""
_alone = False
"""Whether the cluster is one that `connect` started."""
_LET_GO_S = 2.0
"""In which the workers of a step that has just ended give back what they held."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What the Ray cluster of this process has now, and what its autoscaler may make of it."""

    num_cpus: float
    num_gpus: float
    nodes: tuple[Mapping[str, float], ...] = ()
    """Ray resources of each node, those included that the autoscaler may add; not given: one node has it all."""
    free_cpus: float | None = None
    """Of `num_cpus`, those that nobody holds; None: all, as on a cluster that this process started for itself."""

    def __post_init__(self) -> None:
        if not self.nodes:
            object.__setattr__(self, "nodes", ({"CPU": self.num_cpus, "GPU": self.num_gpus},))

    @property
    def held_cpus(self) -> float:
        """CPUs that endpoints and other jobs hold: who asks for all of them waits for ever."""
        return 0.0 if self.free_cpus is None else max(0.0, self.num_cpus - self.free_cpus)


def connect(machine: DictConfig) -> Cluster:
    """Join the cluster that `machine.address` names, or start a local one; the same one when called again.

    Raises:
        UserError: the address does not answer, or more CPUs are asked for than this machine has.
    """
    global _ours, _alone
    address = named_address(machine)
    if not ray.is_initialized():
        if address is not None and ":" in address:  # else a word of Ray's, as `auto`
            _check_listens(address)
        # Ray tells at length that its token authentication is on, as we want it.
        logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
        # Workers inherit these. Idle OpenMP threads must sleep, not spin: where another process has a core, a step of
        # two threads took fourteen times as long as a step of one, and takes the same time with this.
        workers = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "OMP_WAIT_POLICY": "PASSIVE"}
        quiet = {"env_vars": workers}  # progress lines of Ray Data go to a log file, not between our own
        try:
            if address is not None:
                ray.init(address=address, log_to_driver=False, runtime_env=quiet, logging_level=logging.WARNING)
            else:
                ray.init(
                    address="local",  # else Ray joins whatever cluster was started on this machine
                    num_cpus=local_cpus(machine),
                    object_store_memory=int(machine.object_store_mb) << 20,
                    include_dashboard=False,
                    log_to_driver=False,
                    runtime_env=quiet,
                    logging_level=logging.WARNING,
                )
        except ConnectionError as error:
            raise UserError(
                "no Ray cluster answers",
                str(address),
                "start it, or leave machine.address at auto",
            ) from error
        _ours, _alone = True, address is None
    present = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    num_cpus = sum(node.get("CPU", 0.0) for node in present)
    return Cluster(
        num_cpus=num_cpus,
        num_gpus=sum(node.get("GPU", 0.0) for node in present),
        nodes=(*present, *_may_come(present)),
        free_cpus=None if _alone else _free_cpus(num_cpus),
    )


def _free_cpus(num_cpus: float) -> float:
    deadline = time.monotonic() + _LET_GO_S
    while (free := ray.available_resources().get("CPU", 0.0)) < num_cpus and time.monotonic() < deadline:
        time.sleep(0.1)
    return free


def _may_come(present: Sequence[Mapping[str, float]]) -> Iterator[dict[str, float]]:
    """The nodes that the cluster's autoscaler, if it has one, may add to those that are there."""
    config = state.get_cluster_config()
    for group in config.node_group_configs if config is not None else ():
        resources = {name: float(amount) for name, amount in group.resources.items()}
        alike = sum(all(node.get(name) == amount for name, amount in resources.items()) for node in present)
        yield from [resources] * max(0, group.max_count - alike)


def named_address(machine: DictConfig) -> str | None:
    """The cluster to join, by `machine.address` or RAY_ADDRESS; None: a job starts one of its own."""
    return os.environ.get("RAY_ADDRESS") if machine.address == "auto" else machine.address


def local_cpus(machine: DictConfig) -> int:
    """CPUs of the cluster that a job starts on this machine.

    Raises:
        UserError: `machine.num_cpus` is more than there are.
    """
    available = len(os.sched_getaffinity(0))
    asked = available if machine.num_cpus == "auto" else machine.num_cpus
    if asked > available:
        raise UserError(
            f"machine.num_cpus={asked} but this machine has {available} CPUs",
            "machine.num_cpus",
            f"give at most {available}, or leave it at auto",
        )
    return asked


def tags() -> dict[str, str]:
    """Where this process runs in Ray's terms, as tags of an MLflow run; more of them once it is connected."""
    submitted = json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR) or "{}").get("metadata", {})
    found = {"ray.submission": submitted.get("job_submission_id")}
    if ray.is_initialized():
        context, node = ray.get_runtime_context(), ray._private.worker.global_worker.node
        found |= {"ray.job": context.get_job_id(), "ray.node": context.get_node_id()}
        found["ray.dashboard"] = node and node.address_info["webui_url"]
    return {name: value for name, value in found.items() if value}


def shutdown() -> None:
    """Leave the cluster that `connect` joined; one that it started ends with it, another's goes on."""
    global _ours, _alone
    if _ours:
        ray.shutdown()
        _ours = _alone = False


def _check_listens(address: str) -> None:
    """Ask the port first: Ray itself tries for minutes before it gives up.

    Raises:
        UserError: nothing listens at `host:port`.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError):
        raise UserError("no Ray cluster answers", address, "start it, or leave machine.address at auto") from None
