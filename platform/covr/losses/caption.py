"""One loss against several targets of each query: the clip, its caption, its multimodal reading.

CoVR's caption term (`si_ti+si_tc`, half each) and ECDE's second target (0.8 and 0.2) are of this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from covr.errors import UserError
from covr.losses.contrastive import ContrastiveLoss


class WeightedTargets(nn.Module):
    """The weighted sum of one loss over named targets.

    Args:
        loss: as `HardNegativeNCE`.
        weights: name of a target -> its weight; targets of weight 0 are not needed. CoVR's names: `si_ti` for the
            clip, `si_tc` for its caption's text feature; `si_tm` is ECDE's multimodal target.

    Example:
        >>> import torch
        >>> from covr.losses import HardNegativeNCE, WeightedTargets
        >>> loss = WeightedTargets(HardNegativeNCE(), {"si_ti": 0.5, "si_tc": 0.5})
        >>> float(loss(torch.eye(4), {"si_ti": torch.eye(4), "si_tc": torch.eye(4)})) < 1e-4
        True
    """

    def __init__(self, loss: ContrastiveLoss, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.loss = loss
        self.weights = {name: weight for name, weight in weights.items() if weight}
        if not self.weights:
            raise ValueError("every target has weight 0")

    def forward(self, query: Tensor, targets: Mapping[str, Tensor], *masks: Any, **options: Any) -> Tensor:
        """A scalar.

        Args:
            query: (N, D).
            targets: name -> (N, D).
            masks, options: further arguments of the loss (`positives`, `valid`).

        Raises:
            UserError: a target is missing.
        """
        terms = [
            weight * self.loss(query, _target(targets, name), *masks, **options)
            for name, weight in self.weights.items()
        ]
        return sum(terms[1:], terms[0])

    def local(
        self,
        query_local: Tensor,
        targets_local: Mapping[str, Tensor],
        query_all: Tensor,
        targets_all: Mapping[str, Tensor],
        offset: int,
        *masks: Any,
        **options: Any,
    ) -> Tensor:
        """This worker's share; arguments as of `ContrastiveLoss.local`, with targets by name."""
        terms = [
            weight
            * self.loss.local(
                query_local,
                _target(targets_local, name),
                query_all,
                _target(targets_all, name),
                offset,
                *masks,
                **options,
            )
            for name, weight in self.weights.items()
        ]
        return sum(terms[1:], terms[0])


def _target(targets: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in targets:
        raise UserError(f"no target {name}", "model.loss_terms", f"give it, or set model.loss_terms.{name}=0")
    return targets[name]
