"""HN-NCE: published values and gradients, a plain double loop with masks, extremes, padding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covr.losses import HardNegativeNCE, SymmetricCrossEntropy

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "hn_nce.json").read_text())
ARRAYS = np.load(GOLDEN / "hn_nce.npz")


def unit(rows: int, dim: int = 8, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=1)


def double_loop(query, target, loss: HardNegativeNCE, positives, valid) -> float:
    """The definition, cell by cell."""
    S = (query @ target.T / loss.temperature).numpy()
    rows = [i for i in range(len(S)) if valid[i]]
    negative = {
        (i, j): i != j and valid[i] and valid[j] and not positives[i, j] for i in range(len(S)) for j in range(len(S))
    }
    E = np.exp(loss.beta * S)

    def scale(own: int, along: str) -> float:
        cells = [(own, k) if along == "row" else (k, own) for k in rows]
        cells = [cell for cell in cells if negative[cell]]
        return len(cells) / sum(E[cell] for cell in cells) if cells else 0.0

    total = 0.0
    for i in rows:
        source = (lambda j, i=i: j) if loss.weights == "published" else (lambda j, i=i: i)
        hard = sum(scale(source(j), "row") * E[i, j] * np.exp(S[i, j]) for j in rows if negative[i, j])
        total += np.log(loss.alpha * np.exp(S[i, i]) + hard) - S[i, i]
        hard = sum(scale(i, "column") * E[j, i] * np.exp(S[j, i]) for j in rows if negative[j, i])
        total += np.log(loss.alpha * np.exp(S[i, i]) + hard) - S[i, i]
    return total / len(rows)


@pytest.mark.parametrize("case", range(6))
def test_values_and_gradients_are_the_published_ones(case):
    sizes = {name: FACTS[f"cases/{case}/{key}"] for name, key in (("temperature", "temp"), ("alpha", "alpha"))}
    beta = FACTS[f"cases/{case}/beta"]
    query, target = (torch.tensor(ARRAYS[f"cases/{case}/{key}"]).requires_grad_() for key in "qt")
    loss = HardNegativeNCE(**sizes, beta=beta, weights="published")(query, target)
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(ARRAYS[f"cases/{case}/loss"]), atol=1e-5, rtol=1e-5)
    for name, gradient in (("grad_q", query.grad), ("grad_t", target.grad)):
        torch.testing.assert_close(gradient, torch.tensor(ARRAYS[f"cases/{case}/{name}"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", range(6))
def test_rowwise_weights_are_the_papers(case):
    query, target = (torch.tensor(ARRAYS[f"cases/{case}/{key}"]) for key in "qt")
    loss = HardNegativeNCE(*(FACTS[f"cases/{case}/{key}"] for key in ("temp", "alpha", "beta")))
    expected = torch.tensor(ARRAYS[f"cases/{case}/loss_paper_rowwise"])
    torch.testing.assert_close(loss(query, target), expected, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 6),
    seed=st.integers(0, 99),
    weights=st.sampled_from(["rowwise", "published"]),
    temperature=st.sampled_from([0.07, 1.0]),
    beta=st.sampled_from([0.0, 0.5, 1.5]),
)
def test_masks_and_padding_leave_denominators_and_weights(rows, seed, weights, temperature, beta):
    generator = torch.Generator().manual_seed(seed)
    positives = torch.rand(rows, rows, generator=generator) < 0.3
    valid = torch.rand(rows, generator=generator) < 0.8
    valid[0] = True
    query, target = unit(rows, seed=seed), unit(rows, seed=seed + 1000)
    loss = HardNegativeNCE(temperature, 0.7, beta, weights)
    expected = double_loop(query, target, loss, positives, valid)
    assert loss(query, target, positives, valid).item() == pytest.approx(expected, abs=1e-9)


def test_the_diagonal_of_the_mask_is_ignored():
    query, target = unit(5), unit(5, seed=1)
    mask = torch.eye(5, dtype=torch.bool)
    assert HardNegativeNCE()(query, target, mask) == HardNegativeNCE()(query, target)


def test_without_hardness_it_is_the_symmetric_cross_entropy():
    query, target = unit(7), unit(7, seed=1)
    expected = SymmetricCrossEntropy()(query, target)
    torch.testing.assert_close(HardNegativeNCE(beta=0.0)(query, target), expected)


@pytest.mark.parametrize("weights", ["rowwise", "published"])
@pytest.mark.parametrize("temperature", [1e-4, 0.07, 1e4])
@pytest.mark.parametrize("mask", ["none", "all", "one row"])
def test_finite_at_extremes(weights, temperature, mask):
    query = unit(6, dtype=torch.float32).requires_grad_()
    target = (-query.detach()).requires_grad_()  # every positive is the worst answer there is
    positives = torch.zeros(6, 6, dtype=torch.bool)
    positives[: {"none": 0, "all": 6, "one row": 1}[mask]] = True
    loss = HardNegativeNCE(temperature, weights=weights)(query, target, positives)
    loss.backward()
    assert loss.isfinite()
    assert query.grad.isfinite().all()
    assert target.grad.isfinite().all()


def test_all_masked_leaves_no_gradient():
    query = unit(4).requires_grad_()
    loss = HardNegativeNCE()(query, unit(4, seed=1), torch.ones(4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert query.grad.abs().max() < 1e-12


def test_runs_in_float32_under_autocast():
    query, target = unit(64, 32, dtype=torch.float32), unit(64, 32, seed=1, dtype=torch.float32)
    plain = HardNegativeNCE()(query, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = HardNegativeNCE()(query, target)
        low = HardNegativeNCE()(query.bfloat16(), target.bfloat16())
    assert mixed.dtype == low.dtype == torch.float32
    assert mixed == plain


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"alpha": 0.0}, {"weights": "rows"}])
def test_refuses_options_without_meaning(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HardNegativeNCE(**wrong)
