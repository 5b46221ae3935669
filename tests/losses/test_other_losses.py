"""False negatives, the sigmoid loss and weighted targets: published values, definitions, workers, extremes."""

from __future__ import annotations

import pytest
import torch
from golden_values import Golden

from covr.errors import UserError
from covr.losses import (
    FalseNegativeAttraction,
    FalseNegativeElimination,
    HardNegativeNCE,
    SigmoidLoss,
    WeightedTargets,
)

GOLDEN = Golden("hn_nce")
LOSSES = [
    FalseNegativeElimination(),
    FalseNegativeElimination(weights="published"),
    FalseNegativeAttraction(),
    FalseNegativeAttraction(weights="published"),
    SigmoidLoss(),
]


def same_label():
    mask = torch.zeros(6, 6, dtype=torch.bool)
    for row, columns in enumerate(GOLDEN.facts["fn/false_negatives"]):
        mask[row, columns] = True
    return mask


def batch(rows=6, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query, target = torch.randn(2, rows, dim, generator=generator, dtype=torch.float64)
    normalize = torch.nn.functional.normalize
    labels = torch.randint(0, 3, (rows,), generator=generator)
    return normalize(query, dim=-1), normalize(target, dim=-1), labels[:, None] == labels[None]


@pytest.mark.parametrize(
    ("loss", "name"), [(FalseNegativeElimination, "elimination"), (FalseNegativeAttraction, "attraction")]
)
def test_elimination_and_attraction_as_published(loss, name):
    found = loss(weights="published")(GOLDEN["fn/q"], GOLDEN["fn/t"], same_label())
    torch.testing.assert_close(found, GOLDEN[f"fn/{name}"], rtol=0, atol=1e-6)


def test_corrected_elimination_and_attraction_by_their_definition():
    query, target, right = batch()
    eliminated = attracted = 0.0
    for logits in (query @ target.T / 0.07, (query @ target.T / 0.07).T):
        for i in range(6):
            wrong = ~right[i]
            hard = torch.exp(0.5 * logits[i])
            denominator = (wrong.sum() * hard / hard[wrong].sum() * logits[i].exp())[wrong].sum().log()
            eliminated += (denominator - logits[i, i]) / 12
            attracted += (denominator - logits[i, right[i]].mean()) / 12
    torch.testing.assert_close(FalseNegativeElimination()(query, target, right), eliminated)
    torch.testing.assert_close(FalseNegativeAttraction()(query, target, right), attracted)


def test_a_false_negative_has_no_influence_on_corrected_elimination():
    query, target, right = batch()
    i, j = next((i, j) for i in range(6) for j in range(6) if i != j and right[i, j])
    moved = target.clone()
    moved[j] = torch.nn.functional.normalize(moved[j] + 1, dim=-1)
    loss = FalseNegativeElimination()
    ours = (query[i : i + 1], right[i : i + 1], right.T[i : i + 1])
    # the direction target -> query of row i does not see target j at all, the other one must not
    before, after = (loss.local(ours[0], t[i : i + 1], query, t, i, *ours[1:]) for t in (target, moved))
    torch.testing.assert_close(before, after)


def test_sigmoid_by_its_definition():
    query, target, right = batch()
    logits = query @ target.T / 0.1 - 10
    signs = 2 * torch.eye(6, dtype=torch.float64) - 1
    expected = -torch.nn.functional.logsigmoid(signs * logits)
    torch.testing.assert_close(SigmoidLoss()(query, target), 2 * expected.sum() / 6)
    kept = expected.masked_fill(right & ~torch.eye(6, dtype=torch.bool), 0)
    torch.testing.assert_close(SigmoidLoss()(query, target, right), 2 * kept.sum() / 6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_shares_of_workers_add_up_and_so_do_their_gradients(loss):
    query, target, right = batch()
    query.requires_grad_()
    target.requires_grad_()
    whole = loss(query, target, right)
    expected = torch.autograd.grad(whole, [query, target])
    shares = sum(
        loss.local(
            query[rows],
            target[rows],
            query,
            target,
            rows.start,
            positives_rows=right[rows],
            positives_columns=right.T[rows],
        )
        for rows in (slice(0, 2), slice(2, 4), slice(4, 6))
    )
    torch.testing.assert_close(shares, whole)
    torch.testing.assert_close(torch.autograd.grad(shares, [query, target]), expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("temperature", [1e-3, 0.07, 100.0])
def test_finite_at_extremes_and_with_nothing_but_right_answers(loss, temperature):
    changed = type(loss)(temperature=temperature)
    query, target, _ = (tensor.to(torch.bfloat16) for tensor in batch())
    query.requires_grad_()
    for mask in (torch.ones(6, 6, dtype=torch.bool), torch.eye(6, dtype=torch.bool), None):
        value = changed(query, target, mask)
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert torch.autograd.grad(value, query, allow_unused=True)[0].isfinite().all()


def test_padding_rows_count_for_nothing():
    query, target, right = batch()
    valid = torch.tensor([True] * 4 + [False] * 2)
    for loss in LOSSES:
        padded = loss(query, target, right, valid)
        torch.testing.assert_close(padded, loss(query[:4], target[:4], right[:4, :4]))


def test_the_form_is_one_of_two():
    with pytest.raises(ValueError, match="corrected, published"):
        FalseNegativeAttraction(weights="rowwise")


def test_weighted_targets():
    query, target, right = batch()
    other = batch(seed=1)[1]
    loss = HardNegativeNCE()
    both = WeightedTargets(loss, {"si_ti": 0.8, "si_tc": 0.2})
    expected = 0.8 * loss(query, target, right) + 0.2 * loss(query, other, right)
    torch.testing.assert_close(both(query, {"si_ti": target, "si_tc": other}, right), expected)
    shares = sum(
        both.local(
            query[rows],
            {"si_ti": target[rows], "si_tc": other[rows]},
            query,
            {"si_ti": target, "si_tc": other},
            rows.start,
            right[rows],
            right.T[rows],
        )
        for rows in (slice(0, 3), slice(3, 6))
    )
    torch.testing.assert_close(shares, expected)
    one = WeightedTargets(loss, {"si_ti": 1.0, "si_tc": 0.0})
    torch.testing.assert_close(one(query, {"si_ti": target}, right), loss(query, target, right))
    with pytest.raises(UserError, match="si_tc"):
        both(query, {"si_ti": target})
    with pytest.raises(ValueError, match="weight 0"):
        WeightedTargets(loss, {"si_ti": 0.0})
