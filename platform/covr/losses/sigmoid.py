"""The sigmoid loss of SigLIP: every cell of the batch is a yes-or-no question of its own.

Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from covr.losses.contrastive import ContrastiveLoss, Direction


class SigmoidLoss(ContrastiveLoss):
    """Sum over both directions of the rows' -log sigmoid(S_ii + b) - sum_j log sigmoid(-(S_ij + b)).

    Both directions ask the same questions, so that this is twice the paper's value, in keeping with the other
    losses here. Cells that are also right are left out: neither yes nor no.

    Args:
        temperature: divides the similarities (the paper starts at 0.1).
        bias: b, added to them; near -log of the batch's size it balances the few yes against the many no.

    Example:
        >>> import torch
        >>> from covr.losses import SigmoidLoss
        >>> float(SigmoidLoss(temperature=0.01, bias=-50)(torch.eye(4), torch.eye(4))) < 1e-4
        True
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0) -> None:
        super().__init__(temperature)
        self.bias = bias

    def _row_losses(self, rows: Direction) -> Tensor:
        wrong_b = softplus(rows.logits_bN + self.bias).masked_fill(~rows.negatives_bN, 0).sum(dim=1)
        return softplus(-(rows.positive_b + self.bias)) + wrong_b
