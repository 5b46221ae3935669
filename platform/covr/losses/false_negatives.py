"""Losses that know which other rows of the batch are right: false negatives are left out, or pulled in.

Huynh et al., "Boosting Contrastive Self-Supervised Learning with False Negative Cancellation", WACV 2022, with the
hard-negative weights of HN-NCE; in CoVR's released code, where the false negatives of a row are the rows of the same
source label. Unlike `HardNegativeNCE` with `positives`, the positive does not enter its own denominator.

Shapes: b local rows, N rows of the whole batch.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from covr.losses.contrastive import ContrastiveLoss, log_sum_exp


class _HardSum(ContrastiveLoss):
    """log sum_j e^((1 + beta) S_ij) - S_ii over the negatives; nothing for a row without any."""

    def __init__(self, temperature: float, beta: float) -> None:
        super().__init__(temperature)
        self.beta = beta

    def _row_losses(
        self,
        positive_b: Tensor,
        logits_bN: Tensor,
        negatives_bN: Tensor,
        to_target: bool,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        total_b = log_sum_exp((1 + self.beta) * logits_bN, negatives_bN) - positive_b
        return total_b.where(negatives_bN.any(dim=1), torch.zeros_like(total_b))


class _Scale(_HardSum):
    """log n_i - log sum_j e^(beta S_ij): what turns e^(beta S_ij) into a weight of mean 1."""

    def _row_losses(
        self,
        positive_b: Tensor,
        logits_bN: Tensor,
        negatives_bN: Tensor,
        to_target: bool,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        num_b = negatives_bN.sum(dim=1, dtype=logits_bN.dtype)
        scale_b = num_b.clamp(min=1).log() - log_sum_exp(self.beta * logits_bN, negatives_bN)
        return scale_b.where(num_b > 0, torch.zeros_like(scale_b))


class _Pull(ContrastiveLoss):
    """S_ii less the mean logit of the row's right answers, which come in the place of the negatives."""

    def _row_losses(
        self,
        positive_b: Tensor,
        logits_bN: Tensor,
        negatives_bN: Tensor,
        to_target: bool,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        total_b = positive_b + (logits_bN * negatives_bN).sum(dim=1)
        return positive_b - total_b / (1 + negatives_bN.sum(dim=1))


class FalseNegativeElimination(ContrastiveLoss):
    """Mean over both directions of log sum_j W_ij e^(S_ij) - S_ii, j over the true negatives.

    Args:
        temperature: divides the similarities.
        beta: concentration on hard negatives.
        weights: `published` normalises W over all other rows, false negatives included; `corrected` over the true
            negatives, so that the false ones have no influence at all.

    Example:
        >>> import torch
        >>> from covr.losses import FalseNegativeElimination
        >>> same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
        >>> bool(FalseNegativeElimination()(torch.eye(3), torch.eye(3), same) < -10)
        True
    """

    def __init__(
        self,
        temperature: float = 0.07,
        beta: float = 0.5,
        weights: Literal["corrected", "published"] = "corrected",
    ) -> None:
        super().__init__(temperature)
        self.weights = weights
        self.hard_sum, self.scale = _HardSum(temperature, beta), _Scale(temperature, beta)

    def local(
        self,
        query_local: Tensor,
        target_local: Tensor,
        query_all: Tensor,
        target_all: Tensor,
        offset: int,
        positives_rows: Tensor | None = None,
        positives_columns: Tensor | None = None,
        valid: Tensor | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> Tensor:
        """This worker's share; arguments as of `ContrastiveLoss.local`."""
        rows = (query_local, target_local, query_all, target_all, offset)
        masks = (positives_rows, positives_columns)
        weighed = masks if self.weights == "corrected" else (None, None)
        return 0.5 * (
            self.hard_sum.local(*rows, *masks, valid, group) + self.scale.local(*rows, *weighed, valid, group)
        )


class FalseNegativeAttraction(FalseNegativeElimination):
    """As `FalseNegativeElimination`, with every right answer of the batch as a positive: the row's mean over them.

    Example:
        >>> import torch
        >>> from covr.losses import FalseNegativeAttraction, FalseNegativeElimination
        >>> q, t = torch.eye(3), torch.eye(3)
        >>> bool(FalseNegativeAttraction()(q, t) == FalseNegativeElimination()(q, t))
        True
    """

    def __init__(
        self,
        temperature: float = 0.07,
        beta: float = 0.5,
        weights: Literal["corrected", "published"] = "corrected",
    ) -> None:
        super().__init__(temperature, beta, weights)
        self.pull = _Pull(temperature)

    def local(
        self,
        query_local: Tensor,
        target_local: Tensor,
        query_all: Tensor,
        target_all: Tensor,
        offset: int,
        positives_rows: Tensor | None = None,
        positives_columns: Tensor | None = None,
        valid: Tensor | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> Tensor:
        rows = (query_local, target_local, query_all, target_all, offset)
        loss = super().local(*rows, positives_rows, positives_columns, valid, group)
        if positives_rows is None or positives_columns is None:
            return loss
        return loss + 0.5 * self.pull.local(*rows, ~positives_rows, ~positives_columns, valid, group)
