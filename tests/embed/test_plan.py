import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from covr.cluster.session import Cluster
from covr.embed.plan import plan
from covr.errors import UserError


def plan_for(num_cpus, decode_workers="auto", num_gpus=0.0, accelerator="auto"):
    machine = OmegaConf.create({"decode_workers": decode_workers})
    return plan(machine, Cluster(num_cpus=num_cpus, num_gpus=num_gpus), accelerator)


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
