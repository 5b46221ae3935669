"""One optimizer step of a task on one worker, in mixed precision, and in chunks where the batch exceeds the memory.

The step is a function of the weights, the optimizer's state, the batch, the seed and the step's number: random numbers
are drawn anew from (seed, step, rank).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from covr.train.average import Average
from covr.train.recipe import Recipe
from covr.train.task import Shard, Task
from covr.train.workers import Workers


class Step:
    """Forward, loss, backward, update.

    GradCache (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021): with
    `workers.gradcache_rows` the rows are encoded in chunks without a graph, the loss of the whole batch gives the
    gradients of the encodings, and the chunks are encoded once more to carry these to the weights. Each chunk has
    random numbers of its own, the same both times.

    Args:
        task: its model is on its device already.
        recipe: how weights are optimised.
        workers: precision and chunks.
        shard: this worker's place.
        num_steps: of the whole training.

    Attributes:
        model: what the gradients flow through; the task's own, or the same wrapped for many workers.
        average: of the weights, on rank 0, where the recipe asks for it.
    """

    def __init__(self, task: Task, *, recipe: Recipe, workers: Workers, shard: Shard, num_steps: int) -> None:
        self.task, self.recipe, self.shard, self.num_steps = task, recipe, shard, num_steps
        self.model: nn.Module = task.model
        self.optimizer = recipe.build_optimizer(task.model.named_parameters())
        self.average = Average(task.model, recipe.ema) if recipe.ema is not None and shard.rank == 0 else None
        self.scaler = torch.amp.GradScaler(shard.device.type, enabled=workers.precision == "16-mixed")
        self._autocast = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(workers.precision)
        self._chunk_rows = workers.gradcache_rows

    def __call__(self, batch: dict[str, Any], step: int) -> Tensor:
        """Take global step `step`; returns this rank's share of the loss, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(step, self.num_steps) * group["lr_scale"]
        batch = {
            key: value.to(self.shard.device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }
        chunks = [batch] if self._chunk_rows is None else self.task.chunks(batch, self._chunk_rows)
        if len(chunks) == 1:
            share = self._backward(self._forward(self.model, batch, step), batch)
        else:
            share = self._backward_in_chunks(batch, chunks, step)
        if self.recipe.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.task.model.parameters(), self.recipe.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(step)
        return share

    @property
    def averages(self) -> dict[str, Tensor]:
        """The averaged weights by parameter; empty where there are none."""
        return {} if self.average is None else self.average.values

    def averaged(self) -> AbstractContextManager[None]:
        """A block inside which the model holds the averaged weights, where there are any."""
        return self.average.in_place() if self.average is not None else nullcontext()

    def _forward(self, model: nn.Module, batch: dict[str, Any], step: int, *chunk: int) -> dict[str, Tensor]:
        torch.manual_seed(_seed(self.recipe.seed, step, self.shard.rank, *chunk))
        with torch.autocast(self.shard.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            return self.task.forward(model, batch)

    def _backward(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> Tensor:
        """This rank's share of the loss, having sent its gradients to where `outputs` come from."""
        share = self.task.loss(outputs, batch)
        self.optimizer.zero_grad(set_to_none=True)
        # Workers' gradients are averaged; the loss is the sum of their shares.
        self.scaler.scale(share * self.shard.world).backward()
        return share.detach()

    def _backward_in_chunks(self, batch: dict[str, Any], chunks: list[dict[str, Any]], step: int) -> Tensor:
        with torch.no_grad():
            parts = [self._forward(self.task.model, chunk, step, n) for n, chunk in enumerate(chunks)]
        lengths = [len(next(iter(part.values()))) for part in parts]
        whole = {name: torch.cat([part[name] for part in parts]).requires_grad_() for name in parts[0]}
        share = self._backward(whole, batch)
        gradients = {name: value.grad.split(lengths) for name, value in whole.items() if value.grad is not None}
        for n, chunk in enumerate(chunks):
            last = n == len(chunks) - 1
            with nullcontext() if last else self._without_exchange():
                part = self._forward(self.model, chunk, step, n)
            learning = [name for name in gradients if part[name].requires_grad]
            torch.autograd.backward([part[name] for name in learning], [gradients[name][n] for name in learning])
        return share

    def _without_exchange(self) -> AbstractContextManager[None]:
        """Gradients stay on this worker until the last chunk."""
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()


def _seed(*values: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(values).generate_state(1, np.uint64)[0] >> np.uint64(1))
