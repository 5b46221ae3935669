"""Losses that know which other rows of the batch are right: false negatives are left out, or pulled in.

Huynh et al., "Boosting Contrastive Self-Supervised Learning with False Negative Cancellation", WACV 2022, with the
hard-negative weights of HN-NCE; in CoVR's released code, where the false negatives of a row are the rows of the same
source label. Unlike `HardNegativeNCE` with `positives`, the positive does not enter its own denominator.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from covr.losses.contrastive import ContrastiveLoss, Direction, log_sum_exp

Form = Literal["corrected", "published"]


class FalseNegativeElimination(ContrastiveLoss):
    """Mean over both directions of log sum_j W_ij e^(S_ij) - S_ii, j over the true negatives.

    A row without a true negative costs nothing.

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

    def __init__(self, temperature: float = 0.07, beta: float = 0.5, weights: Form = "corrected") -> None:
        super().__init__(temperature)
        if weights not in get_args(Form):
            raise ValueError(f"weights {weights!r} is not one of {', '.join(get_args(Form))}")
        self.beta, self.weights = beta, weights

    def _row_losses(self, rows: Direction) -> Tensor:
        weighed_bN = rows.others_bN if self.weights == "published" else rows.negatives_bN
        num_b = weighed_bN.sum(dim=1, dtype=rows.logits_bN.dtype)
        # log(n_i / sum_k e^(beta S_ik)): what turns e^(beta S_ij) into a weight of mean 1
        log_scale_b = num_b.clamp(min=1).log() - log_sum_exp(self.beta * rows.logits_bN, weighed_bN)
        denominator_b = log_scale_b + log_sum_exp((1 + self.beta) * rows.logits_bN, rows.negatives_bN)
        counted_b = rows.negatives_bN.any(dim=1)
        return 0.5 * (denominator_b - self._positive(rows)).masked_fill(~counted_b, 0)

    def _positive(self, rows: Direction) -> Tensor:
        return rows.positive_b


class FalseNegativeAttraction(FalseNegativeElimination):
    """As `FalseNegativeElimination`, with every right answer of the batch as a positive: the row's mean over them.

    With `weights="published"` it is also the released code's mean: the false negatives of a row include the row
    itself, so that its own partner counts twice, and a row that is alone with its label costs nothing.

    Example:
        >>> import torch
        >>> from covr.losses import FalseNegativeAttraction, FalseNegativeElimination
        >>> q, t = torch.eye(3), torch.eye(3)
        >>> bool(FalseNegativeAttraction()(q, t) == FalseNegativeElimination()(q, t))
        True
    """

    def _row_losses(self, rows: Direction) -> Tensor:
        losses_b = super()._row_losses(rows)
        if self.weights == "corrected":
            return losses_b
        return losses_b.masked_fill(~(rows.others_bN & ~rows.negatives_bN).any(dim=1), 0)

    def _positive(self, rows: Direction) -> Tensor:
        also_right_bN = rows.others_bN & ~rows.negatives_bN
        times = 2 if self.weights == "published" else 1
        total_b = times * rows.positive_b + (rows.logits_bN * also_right_bN).sum(dim=1)
        return total_b / (times + also_right_bN.sum(dim=1))
