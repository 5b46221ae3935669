"""The exponential moving average of the weights, in place of the weights while they are evaluated and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The moving average of a model's parameters that train.

    The share that stays is min(decay, (1 + n) / (10 + n)) at step n, so that a short run does not end on its first
    weights. Buffers are not averaged.

    Args:
        model: averaged from its present weights on.
        decay: the share that stays, between 0 and 1.

    Attributes:
        values: name of a parameter -> its average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._parameters: list[Tensor] = list(trained.values())
        self.values: dict[str, Tensor] = {name: parameter.detach().clone() for name, parameter in trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after global step `step`, from 0."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), self._parameters, share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model holds the averages inside the block, and its own weights after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for parameter, value in zip(self._parameters, self.values.values(), strict=True):
            parameter.data, value.data = value.data, parameter.data
