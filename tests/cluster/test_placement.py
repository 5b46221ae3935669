"""A plan that does not fit is refused before Ray would wait for ever."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr.cluster.placement import Demand, require, unplaced
from covr.cluster.session import Cluster
from covr.errors import UserError


def cluster(*nodes: dict[str, float]) -> Cluster:
    return Cluster(
        num_cpus=sum(n.get("CPU", 0) for n in nodes), num_gpus=sum(n.get("GPU", 0) for n in nodes), nodes=nodes
    )


def demand(name: str, num: int = 1, **each: float) -> Demand:
    return Demand(name=name, each=each, num=num)


def test_a_plan_of_more_cpus_than_there_are_says_what_to_lower():
    with pytest.raises(UserError, match=r"needs 3 CPUs .*lower machine.decode_workers"):
        require([demand("decode", CPU=2), demand("train", CPU=1)], cluster({"CPU": 2}))
    require([demand("decode", CPU=1), demand("train", CPU=1)], cluster({"CPU": 2}))


def test_a_worker_larger_than_every_node_is_told_with_the_nodes():
    with pytest.raises(UserError, match=r"no node holds one of train \(CPU 4\); nodes have 2 x \(CPU 2\)"):
        require([demand("train", CPU=4)], cluster({"CPU": 2}, {"CPU": 2}))


def test_workers_that_fit_alone_but_not_beside_each_other():
    with pytest.raises(UserError, match="finds no node beside 2 x train"):
        require([demand("train", 2, CPU=3), demand("decode", CPU=1)], cluster({"CPU": 4}, {"CPU": 2}, {"CPU": 1}))


def test_cpu_work_stays_off_gpu_nodes_while_there_is_another():
    nodes = [{"CPU": 2, "GPU": 1}, {"CPU": 2}]
    assert unplaced([demand("decode", 2, CPU=1), demand("train", CPU=2, GPU=1)], nodes) is None


@given(
    cpus=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    asked=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_what_is_said_to_fit_does(cpus, asked):
    """Brute force over all placements: never a plan that cannot be placed."""
    nodes = [{"CPU": float(each)} for each in cpus]
    if unplaced([demand("x", CPU=each) for each in asked], nodes) is None:
        assert any(
            all(sum(a for a, on in zip(asked, places, strict=True) if on == n) <= has for n, has in enumerate(cpus))
            for places in itertools.product(range(len(cpus)), repeat=len(asked))
        )
