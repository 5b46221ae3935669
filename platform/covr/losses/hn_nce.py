"""Hard-negative noise-contrastive estimation: InfoNCE whose negatives weigh more the nearer they are.

Radenovic et al., "Filtering, Distillation, and Hard Negatives for Vision-Language Pre-Training", CVPR 2023; in the
form in which CoVR and its successors train.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from covr.losses.contrastive import ContrastiveLoss, Direction, log_sum_exp
from covr.losses.gather import gather_rows

Weights = Literal["rowwise", "published"]


class HardNegativeNCE(ContrastiveLoss):
    """HN-NCE in both directions, summed.

    With logits S, the negatives of row i are weighted by W_ij = n_i e^(beta S_ij) / sum_k e^(beta S_ik), where n_i
    is their number, so that their mean weight is 1; the loss of the row is
    log(alpha e^(S_ii) + sum_j W_ij e^(S_ij)) - S_ii. Columns (target -> query) likewise. Masked cells leave the
    sums, the weights and n.

    Args:
        temperature: divides the similarities.
        alpha: weight of the positive in the denominator.
        beta: concentration on hard negatives; 0 weighs all alike.
        weights: `rowwise` as the paper has it; `published` as the reference code has it, which divides column j of
            the direction query -> target by row j's sum in place of row i's. (A column whose own row has no
            negatives then weighs nothing.)

    Example:
        >>> import torch
        >>> from covr.losses import HardNegativeNCE
        >>> float(HardNegativeNCE()(torch.eye(4), torch.eye(4))) < 1e-4
        True
    """

    def __init__(
        self, temperature: float = 0.07, alpha: float = 1.0, beta: float = 0.5, weights: Weights = "rowwise"
    ) -> None:
        super().__init__(temperature)
        if not alpha > 0:
            raise ValueError(f"alpha {alpha} is not above 0")
        if weights not in get_args(Weights):
            raise ValueError(f"weights {weights!r} is not one of {', '.join(get_args(Weights))}")
        self.alpha, self.beta, self.weights = alpha, beta, weights

    def _row_losses(self, rows: Direction) -> Tensor:
        # log(n_i / sum_k e^(beta S_ik)): what turns e^(beta S_ij) into W_ij
        log_scale_b = rows.negatives_bN.sum(dim=1, dtype=rows.logits_bN.dtype).log() - log_sum_exp(
            self.beta * rows.logits_bN, rows.negatives_bN
        )
        hardened_bN = (1 + self.beta) * rows.logits_bN
        if rows.to_target and self.weights == "published":
            whole = len(log_scale_b) == hardened_bN.shape[1]
            log_scale_N = log_scale_b if whole else gather_rows(log_scale_b, rows.group)
            denominator_b = log_sum_exp(hardened_bN + log_scale_N, rows.negatives_bN)
        else:
            denominator_b = log_scale_b + log_sum_exp(hardened_bN, rows.negatives_bN)
        return torch.logaddexp(rows.positive_b + math.log(self.alpha), denominator_b) - rows.positive_b
