"""How weights are optimised: AdamW over groups of parameters, linear warm-up, then a schedule, and their average."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import nn

from covr.errors import UserError

Decay = Literal["matrices", "all", "aim"]
Scheduler = Literal["cosine", "step", "constant"]
Unit = Literal["step", "epoch"]

AIM_SPARED = re.compile(r"(^|\.)(norm\w*|cls_token|pos_embed)(\.|$)")
"""What AIM's recipe does not decay: class token, positions and norms."""


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
    decay: Decay = "matrices"
    """What decays: parameters of two axes and more; `all` (published by CoVR and its successors); `aim`: all but class
    token, positions and norms (published by AIM)."""
    lr_scale: Mapping[str, float] = field(default_factory=dict)
    """Beginning of parameters' names -> factor of their learning rate; the longest that fits counts."""
    scheduler: Scheduler = "cosine"
    """After the warm-up: a cosine to zero; `step`: times `factor` after each epoch; or no change."""
    unit: Unit = "step"
    """When the rate changes after the warm-up: at each step, or once an epoch (published by CoVR)."""
    factor: float = 0.1
    """Of `step`."""
    ema: float | None = None
    """Decay of the weights' exponential moving average, which is then what is evaluated and saved; None: none."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimizer.name", self.optimizer, ("adamw",)),
            ("optimizer.decay", self.decay, get_args(Decay)),
            ("scheduler.name", self.scheduler, get_args(Scheduler)),
            ("scheduler.unit", self.unit, get_args(Unit)),
        ):
            if value not in known:
                raise UserError("no such choice", f"model.{name}={value}", f"choose {' or '.join(known)}")
        if self.max_epochs < 1:
            raise UserError("training needs at least one epoch", f"max_epochs={self.max_epochs}", "give 1 or more")
        if not 0 <= self.warmup < 1:
            raise UserError("warmup is a share of the steps", f"warmup={self.warmup}", "give 0 <= warmup < 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError("ema is the share that stays at a step", f"ema={self.ema}", "give 0 < ema < 1, or null")
        for name, scale in self.lr_scale.items():
            if scale < 0:
                raise UserError("a learning rate is not below 0", f"lr_scale.{name}={scale}", "give 0 or more")

    def build_optimizer(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.AdamW:
        """AdamW over the named parameters that train, in groups of equal decay and rate.

        Each group carries `lr_scale`, the factor of `learning_rate`.

        Raises:
            UserError: a name in `lr_scale` with which no parameter that trains begins.
        """
        trained = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        for prefix in self.lr_scale:
            if not any(_begins(name, prefix) for name, _ in trained):
                known = ", ".join(dict.fromkeys(name.split(".")[0] for name, _ in trained))
                raise UserError(f"nothing that is trained begins with {prefix}", "lr_scale", f"there are {known}")
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for decays in (True, False):
            for name, parameter in trained:
                if self._decays(name, parameter) == decays:
                    key = (self._scale(name), self.weight_decay if decays else 0.0)
                    groups.setdefault(key, []).append(parameter)
        described: list[dict[str, Any]] = [
            {"params": members, "weight_decay": decay, "lr_scale": scale} for (scale, decay), members in groups.items()
        ]
        return torch.optim.AdamW(described, lr=self.lr, fused=True)

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Of global step `step`, from 0, of `num_steps`, which are a multiple of `max_epochs`."""
        rising = self.warmup * num_steps
        if step < rising:
            return self.lr * (step + 1) / math.ceil(rising)
        if self.scheduler == "constant":
            return self.lr
        steps_per_epoch = num_steps // self.max_epochs
        if self.scheduler == "step":
            return self.lr * self.factor ** (step // steps_per_epoch)
        if self.unit == "epoch":
            step = max(step - step % steps_per_epoch, math.ceil(rising))
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(num_steps - rising, 1)))

    def _decays(self, name: str, parameter: nn.Parameter) -> bool:
        match self.decay:
            case "all":
                return True
            case "aim":
                return AIM_SPARED.search(name) is None
            case _:
                return parameter.ndim >= 2

    def _scale(self, name: str) -> float:
        fitting = [prefix for prefix in self.lr_scale if _begins(name, prefix)]
        return self.lr_scale[max(fitting, key=len)] if fitting else 1.0


def _begins(name: str, prefix: str) -> bool:
    return f"{name}.".startswith(f"{prefix}.")
