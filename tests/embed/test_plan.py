import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from covr.cluster.session import Cluster
from covr.embed.plan import plan
from covr.errors import UserError

MACHINE = {
    "decode_workers": "auto",
    "encode_workers": "auto",
    "encode_gpus": 1,
    "decode_resources": None,
    "encode_resources": None,
}


def plan_for(num_cpus, decode_workers="auto", num_gpus=0.0, accelerator="auto"):
    machine = OmegaConf.create({**MACHINE, "decode_workers": decode_workers})
    return plan(machine, Cluster(num_cpus=num_cpus, num_gpus=num_gpus), accelerator)


def plan_on(*nodes, **options):
    cluster = Cluster(
        num_cpus=sum(node.get("CPU", 0) for node in nodes),
        num_gpus=sum(node.get("GPU", 0) for node in nodes),
        nodes=nodes,
    )
    return plan(OmegaConf.create({**MACHINE, **options}), cluster)


def test_an_encoder_asks_for_no_more_than_a_node_has():
    """A cluster of six CPUs, two a node, has no room for one actor of three; Ray would wait for it for ever."""
    assert plan_on({"CPU": 2}, {"CPU": 2}, {"CPU": 2}).encode_cpus <= 2
    assert plan_on({"CPU": 16}, {"CPU": 1, "GPU": 1}).encode_cpus <= 1


def test_each_gpu_has_an_encoder_and_two_may_share_one():
    nodes = {"CPU": 8}, {"CPU": 4, "GPU": 2}
    assert (plan_on(*nodes).encode_workers, plan_on(*nodes).encode_gpus) == (2, 1)
    assert (plan_on(*nodes, encode_gpus=0.5).encode_workers, plan_on(*nodes, encode_gpus=0.5).encode_gpus) == (4, 0.5)
    assert plan_on(*nodes, encode_workers=1).encode_workers == 1


def test_beside_gpus_all_cpus_decode_but_one_that_feeds_each():
    """Half of 16 cores decoded for a GPU that waited for them."""
    one = plan_on({"CPU": 16, "GPU": 1})
    assert (one.decode_workers, one.decode_cpus, one.encode_cpus) == (14, 1, pytest.approx(1.9))
    assert plan_on({"CPU": 8, "GPU": 4}).decode_workers == 4
    assert plan_on({"CPU": 16}).decode_workers == 8
    tied = {"decode_resources": {"decode": 0.01}, "encode_resources": {"train": 0.01}}
    assert plan_on({"CPU": 6, "decode": 1}, {"CPU": 16, "GPU": 4, "train": 1}, **tied).decode_workers == 6


def test_what_no_node_has_is_told_before_anything_waits_for_it():
    with pytest.raises(UserError, match=r"no node holds one of decode .*decode 0.01.*nodes have 2 x"):
        plan_on({"CPU": 2}, {"CPU": 2}, decode_resources={"decode": 0.01})
    with pytest.raises(UserError, match=r"encode \(CPU .*GPU 2\)"):
        plan_on({"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}, encode_gpus=2, encode_workers=1)
    found = plan_on({"CPU": 2, "decode": 1}, {"CPU": 2}, decode_resources={"decode": 0.01})
    assert found.decode_resources == {"decode": 0.01}


def test_decode_workers_grow_with_the_cluster():
    cluster = Cluster(num_cpus=4, num_gpus=0, nodes=({"CPU": 4}, {"CPU": 16}, {"CPU": 16}))  # two of them may come
    found = plan(OmegaConf.create(MACHINE), cluster)
    assert (found.decode_workers, found.decode_workers_most) == (2, 18)


@given(num_cpus=st.integers(1, 256), decode_workers=st.sampled_from(["auto", 1]))
def test_a_plan_never_holds_all_cpus(num_cpus, decode_workers):
    chosen = plan_for(num_cpus, decode_workers)
    held = chosen.decode_workers * chosen.decode_cpus + chosen.encode_cpus
    assert held == pytest.approx(num_cpus - 0.1)
    assert chosen.decode_workers >= 1
    assert 0.4 <= chosen.decode_cpus <= 1
    assert chosen.encode_cpus >= 0.4
    assert chosen.encode_threads >= 1


def test_a_gpu_goes_to_the_encoder():
    assert plan_for(4, num_gpus=2.0).encode_gpus == 1
    assert plan_for(4).encode_gpus == 0
    assert plan_for(4, num_gpus=2.0, accelerator="cpu").encode_device == "cpu"
    with pytest.raises(UserError, match="no GPU"):
        plan_for(4, accelerator="gpu")


def test_more_workers_than_fit_are_refused():
    with pytest.raises(UserError, match=r"needs 26.1 CPUs .* but the cluster has 2"):
        plan_for(2, 64)


def test_what_others_hold_is_left_to_them(machine):
    """Beside an endpoint that held 0.6 of 4 CPUs an embedding that asked for 3.9 waited for ever."""
    beside = plan(machine, Cluster(num_cpus=4, num_gpus=0, free_cpus=2.4))
    assert beside.decode_workers * beside.decode_cpus + beside.encode_workers * beside.encode_cpus <= 2.3
    alone = plan(machine, Cluster(num_cpus=4, num_gpus=0, free_cpus=4))
    assert alone == plan(machine, Cluster(num_cpus=4, num_gpus=0))
