"""Symmetric cross-entropy against torch's own and the published values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from covr.losses import SymmetricCrossEntropy

ARRAYS = np.load(Path(__file__).parents[1] / "golden" / "hn_nce.npz")


@pytest.mark.parametrize("case", range(4))
def test_is_the_sum_of_both_directions(case):
    query, target = (torch.tensor(ARRAYS[f"cases/{case}/{key}"]) for key in "qt")
    loss = SymmetricCrossEntropy()(query, target)
    torch.testing.assert_close(loss / 2, torch.tensor(ARRAYS[f"cases/{case}/cross_entropy"]), atol=1e-5, rtol=1e-5)


def test_masked_cells_and_padded_rows_leave_the_denominator():
    torch.manual_seed(0)
    query, target = normalize(torch.randn(5, 8), dim=1), normalize(torch.randn(5, 8), dim=1)
    positives = torch.zeros(5, 5, dtype=torch.bool)
    positives[0, 2] = True
    valid = torch.tensor([True, True, True, True, False])
    logits = (query @ target.T / 0.1)[:4, :4]
    logits[0, 2] = -torch.inf
    own = torch.arange(4)
    expected = cross_entropy(logits, own) + cross_entropy(logits.T, own)
    torch.testing.assert_close(SymmetricCrossEntropy(0.1)(query, target, positives, valid), expected)
