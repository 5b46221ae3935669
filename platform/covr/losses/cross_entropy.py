"""Symmetric cross-entropy (InfoNCE): every other row of the batch is a negative of equal weight."""

from __future__ import annotations

import torch
from torch import Tensor

from covr.losses.contrastive import ContrastiveLoss, Direction, log_sum_exp


class SymmetricCrossEntropy(ContrastiveLoss):
    """InfoNCE in both directions, summed (not averaged), as the published loss classes do.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021. Equal to
    `HardNegativeNCE(alpha=1, beta=0)`.

    Example:
        >>> import torch
        >>> from covr.losses import SymmetricCrossEntropy
        >>> float(SymmetricCrossEntropy()(torch.eye(4), torch.eye(4))) < 1e-4
        True
    """

    def _row_losses(self, rows: Direction) -> Tensor:
        return torch.logaddexp(rows.positive_b, log_sum_exp(rows.logits_bN, rows.negatives_bN)) - rows.positive_b
