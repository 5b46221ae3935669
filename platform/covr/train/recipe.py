"""How weights are optimised: AdamW with decay on matrices only, linear warm-up, then a cosine to zero, per step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from covr.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The optimisation of one training run."""

    max_epochs: int
    batch_size: int
    """Rows of a global batch, over all workers."""
    lr: float
    weight_decay: float
    warmup: float
    """Share of the steps in which the learning rate rises."""
    clip_grad: float | None
    """Largest norm of the gradient; None: not clipped."""
    seed: int
    optimizer: Literal["adamw"] = "adamw"
    scheduler: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        if self.optimizer != "adamw":
            raise UserError("no such optimizer", f"model.optimizer.name={self.optimizer}", "choose adamw")
        if self.scheduler not in ("cosine", "constant"):
            raise UserError("no such schedule", f"model.scheduler.name={self.scheduler}", "choose cosine or constant")
        if self.max_epochs < 1:
            raise UserError("training needs at least one epoch", f"max_epochs={self.max_epochs}", "give 1 or more")
        if not 0 <= self.warmup < 1:
            raise UserError("warmup is a share of the steps", f"warmup={self.warmup}", "give 0 <= warmup < 1")

    def build_optimizer(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.AdamW:
        """AdamW over the named parameters that train; biases, norms and other vectors do not decay."""
        trained = [parameter for _, parameter in parameters if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=self.lr)

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Of global step `step`, from 0, of `num_steps`."""
        rising = self.warmup * num_steps
        if step < rising:
            return self.lr * (step + 1) / math.ceil(rising)
        if self.scheduler == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(num_steps - rising, 1)))
