"""The gated combiner against the published one, in evaluation and in training."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from covr.models import Combiner

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "combiner.json").read_text())
ARRAYS = np.load(GOLDEN / "combiner.npz")


@torch.no_grad()
def fill_by_name(module: torch.nn.Module, scale: float) -> None:
    """The golden files' rule for weights that are not stored."""
    for name, parameter in module.named_parameters():
        draw = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
        value = draw.standard_normal(parameter.shape).astype(np.float32)
        value = value * scale if value.ndim > 1 else value * 0.02 + (1.0 if name.endswith("weight") else 0.0)
        parameter.copy_(torch.from_numpy(value))


def inputs(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(ARRAYS[f"{name}/img"]), torch.tensor(ARRAYS[f"{name}/txt"])


def tiny() -> Combiner:
    combiner = Combiner(*FACTS["tiny/dims"])
    prefix = "tiny/state_dict/"
    combiner.load_state_dict(
        {name.removeprefix(prefix): torch.tensor(ARRAYS[name]) for name in ARRAYS if name.startswith(prefix)}
    )
    return combiner


@torch.no_grad()
def test_stored_weights_give_the_published_output():
    torch.testing.assert_close(tiny().eval()(*inputs("tiny")), torch.tensor(ARRAYS["tiny/out"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", ["aim", "blip2", "clip"])
@torch.no_grad()
def test_full_sizes_give_the_published_output(size):
    with torch.device("meta"):
        combiner = Combiner(*FACTS[f"{size}/dims"])
    combiner = combiner.to_empty(device="cpu").eval()
    assert sum(p.numel() for p in combiner.parameters()) == FACTS[f"{size}/nparams"]
    assert {name: list(p.shape) for name, p in combiner.named_parameters()} == FACTS[f"{size}/keys"]
    fill_by_name(combiner, 0.05)
    torch.testing.assert_close(combiner(*inputs(size)), torch.tensor(ARRAYS[f"{size}/out"]), atol=1e-5, rtol=1e-5)


def test_training_draws_and_learns_as_published():
    combiner = tiny().train()
    torch.manual_seed(7)
    output = combiner(*inputs("tiny"))
    torch.testing.assert_close(output, torch.tensor(ARRAYS["tiny/train_out"]), atol=1e-5, rtol=1e-5)
    output.sum().backward()
    for index, parameter in enumerate(combiner.parameters()):
        expected = torch.tensor(ARRAYS[f"tiny/train_grads/{index}"])
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-5)


def test_output_has_unit_length():
    output = Combiner(8, 16, 32)(torch.randn(5, 8) * 100, torch.randn(5, 8))
    torch.testing.assert_close(output.norm(dim=1), torch.ones(5))
