"""Symmetric cross-entropy (InfoNCE): every other row of the batch is a negative of equal weight."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from covr.losses.contrastive import ContrastiveLoss, log_sum_exp


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

    def _row_losses(
        self,
        positive_b: Tensor,
        logits_bN: Tensor,
        negatives_bN: Tensor,
        to_target: bool,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        return torch.logaddexp(positive_b, log_sum_exp(logits_bN, negatives_bN)) - positive_b
