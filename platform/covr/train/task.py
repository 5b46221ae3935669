"""What a training stage has to say for itself; everything else is the loop's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from covr.train.order import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The place of one worker among all: its rank of `world`, and the device it computes on."""

    rank: int
    world: int
    device: torch.device
    data_cpus: int
    """Ray CPUs of this worker's own data pipeline."""


class Task(Protocol):
    """One training stage, as built in each worker by a picklable `Callable[[Shard], Task]`."""

    model: nn.Module
    """What is trained. Its `forward` is what `forward` below calls, so that gradients are averaged over workers."""
    num_rows: int
    """Rows of an epoch, over all workers."""
    primary: str
    """The validation metric, larger is better, whose best value is recorded."""

    def batches(self, order: Order, first: int, last: int) -> Iterator[dict[str, Any]]:
        """This rank's part of the global steps first..last-1, tensors on the CPU; the same whatever `first` is."""
        ...

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """`model` (the task's own, or the same wrapped for many workers) on a batch; runs in mixed precision.

        Each output has one row for each row of the batch, made from that row alone.
        """
        ...

    def chunks(self, batch: dict[str, Any], rows: int) -> list[dict[str, Any]]:
        """What `forward` needs of the batch, `rows` rows at a time, in order; the last may have fewer."""
        ...

    def loss(self, outputs: dict[str, torch.Tensor], batch: dict[str, Any]) -> torch.Tensor:
        """This rank's share of the loss of the global batch, a float32 scalar: the loss is the sum over ranks."""
        ...

    def validate(self) -> dict[str, float]:
        """Metrics on the validation split, none where there is none; called on rank 0 only, in evaluation mode."""
        ...

    def finish(self) -> dict[str, Any]:
        """Save what was trained and return a JSON result; called once at the end, on rank 0 only."""
        ...
