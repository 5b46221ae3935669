"""The one training loop, as it runs inside each Ray Train worker; both stages are tasks that it is given.

The state after a step is a function of the seed, the number of workers and the step: rows come from
`covr.train.order`, random numbers and the learning rate are drawn from its number by `covr.train.step`. So a run
resumed from any checkpoint goes on as the calm run would have.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train import Checkpoint

from covr.errors import UserError
from covr.tracking import RunLogger
from covr.train import checkpoint
from covr.train.blocks import compile_blocks, recompute_blocks
from covr.train.load import WorkerLoad
from covr.train.order import Order
from covr.train.recipe import Recipe
from covr.train.step import Step
from covr.train.task import Shard, Task
from covr.train.workers import Workers

MakeTask = Callable[[Shard], Task]
NOTICE_S = 5.0
"""Between questions whether a node will be taken away: each is a call of all workers, and clouds say so 30 s before."""
SAVE, ASK = 1, 2
"""What rank 0's clock says is due at a log point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What the driver hands to every worker."""

    make_task: MakeTask
    recipe: Recipe
    workers: Workers
    logger: RunLogger
    progress: Any
    """Handle of the driver's `covr.train.progress.Progress` actor."""


@dataclass(kw_only=True, slots=True)
class Progression:
    """What changes from step to step, beside weights and moments; stored in the checkpoint."""

    step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    """Spent in training steps, over all attempts."""


def work(assignment: Assignment) -> dict[str, Any] | None:
    """The function of a Ray Train worker. Returns the task's result on rank 0.

    A user's error is told to the driver. Where it concerns every rank alike, the worker then ends in peace,
    because trying again would end in the same way.
    """
    try:
        return Loop(assignment).run()
    except UserError as error:
        ray.get(assignment.progress.refuse.remote(*error.args))
        if isinstance(error, Diverged) or assignment.workers.num == 1:
            return None
        raise


class Diverged(UserError):
    """The loss is no longer a number, on all ranks."""


class Loop:
    """The training of one task on one worker."""

    def __init__(self, assignment: Assignment) -> None:
        self.recipe, self.workers, self.logger = assignment.recipe, assignment.workers, assignment.logger
        self.progress = assignment.progress
        torch.set_num_threads(self.workers.threads)
        if self.workers.deterministic:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS reads it as it starts
            torch.use_deterministic_algorithms(True)
        context = ray.train.get_context()
        world = context.get_world_size()
        self.shard = Shard(
            rank=context.get_world_rank(),
            world=world,
            device=ray.train.torch.get_device(),
            data_cpus=self.workers.data_cpus,
        )
        torch.manual_seed(self.recipe.seed)
        began = time.monotonic()
        self.task = assignment.make_task(self.shard)
        self.prepared_s = time.monotonic() - began
        self.order = Order(num_rows=self.task.num_rows, batch_size=self.recipe.batch_size, seed=self.recipe.seed)
        self.num_steps = self.order.steps_per_epoch * self.recipe.max_epochs
        self.task.model.to(self.shard.device)
        if self.workers.gradient_checkpointing:
            recompute_blocks(self.task.model)
        if self.workers.compile:
            compile_blocks(self.task.model)
        self.step = Step(
            self.task, recipe=self.recipe, workers=self.workers, shard=self.shard, num_steps=self.num_steps
        )
        self.state = self._restore()
        self.step.model = ray.train.torch.prepare_model(self.task.model)
        self.load = WorkerLoad(self.shard.rank, self.workers.load_every_s)
        self.leaving: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Train from the last checkpoint to the end."""
        lead = self.shard.rank == 0
        saved_at = asked_at = time.monotonic()
        shares: list[torch.Tensor] = []
        lap, lap_steps = time.monotonic(), 0
        self.step.model.train()
        for batch in self.task.batches(self.order, self.state.step, self.num_steps):
            shares.append(self.step(batch, self.state.step))
            self.state.step += 1
            lap_steps += 1
            ends_epoch = self.state.step % self.order.steps_per_epoch == 0
            if not ends_epoch and self.state.step % self.workers.log_every_n_steps:
                continue
            # A log point: the only place where ranks agree on anything and where a checkpoint may be made,
            # so that the means logged after a resume are over the same steps as in a calm run.
            loss = self._agree(torch.stack(shares).sum()) / len(shares)
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} at step {self.state.step}",
                    f"epoch {self.order.epoch(self.state.step - 1) + 1}",
                    "lower the learning rate or use trainer.precision=32-true; the last checkpoint is kept",
                )
            now = time.monotonic()
            rate = lap_steps * self.recipe.batch_size / (now - lap)
            self.state.seconds += now - lap
            metrics = {
                "loss": loss,
                "lr": self.recipe.learning_rate(self.state.step - 1, self.num_steps),
                "rows_per_s": rate,
            }
            if ends_epoch:
                metrics |= self._validate(loss, rate)
            if lead:
                self.logger.log_metrics(metrics, self.state.step)
            if load := self.load.sample():
                self.logger.log_metrics(load, self.state.step)
            wish = 0.0
            if lead:
                now = time.monotonic()
                wish = SAVE * (now - saved_at >= self.workers.checkpoint_every_s) + ASK * (now - asked_at >= NOTICE_S)
            wanted = int(self._agree(wish))
            if wanted & ASK:
                asked_at = time.monotonic()
            if wanted & SAVE or (wanted & ASK and self._preempted()) or self.state.step == self.num_steps:
                self._save()
                saved_at = time.monotonic()
            shares.clear()
            lap, lap_steps = time.monotonic(), 0
        self.step.model.eval()
        with self.step.averaged():
            result = self.task.finish() if lead else {}
        self._agree(0.0)  # nobody leaves while rank 0 is still saving
        rate = self.num_steps * self.recipe.batch_size / max(self.state.seconds, 1e-9)
        return {
            **result,
            "best": self.state.best,
            "steps": self.num_steps,
            "rows_per_s": round(rate, 1),
            "seconds": round(self.prepared_s + self.state.seconds, 3),
        }

    def _agree(self, value: torch.Tensor | float) -> float:
        """The sum of a number over all ranks; also the point where they wait for each other."""
        total = torch.as_tensor(value, dtype=torch.float32, device=self.shard.device)
        if self.shard.world > 1:
            dist.all_reduce(total)
        return total.item()

    def _preempted(self) -> bool:
        """Whether a node of these workers was just told that it will be taken away; all ranks ask together."""
        notice = ray.train.get_preemption_info()
        told = set(notice.preempted_node_ids) - self.leaving if notice else set()
        self.leaving |= told
        if told and self.shard.rank == 0:
            self.progress.say.remote(f"  a node will be taken away; saved at step {self.state.step}")
        return bool(told)

    def _validate(self, loss: float, rate: float) -> dict[str, float]:
        """Rank 0's validation metrics and line of progress at the end of an epoch; the other ranks have none."""
        if self.shard.rank != 0:
            return {}
        epoch = self.order.epoch(self.state.step - 1) + 1
        metrics: dict[str, float] = {}
        if epoch % self.workers.check_val_every_n_epoch == 0 or self.state.step == self.num_steps:
            self.step.model.eval()
            with self.step.averaged(), torch.inference_mode():
                metrics = self.task.validate()
            self.step.model.train()
            value = metrics.get(self.task.primary, -math.inf)
            if value > self.state.best.get(self.task.primary, -math.inf):
                self.state.best = {self.task.primary: value, "step": self.state.step}
            metrics |= {f"best/{name}": best for name, best in self.state.best.items() if name in metrics}
            if self.task.primary in metrics:
                self.progress.validated.remote({self.task.primary: value, "epoch": epoch})
        shown = "".join(f"  {name} {value:.4g}" for name, value in metrics.items() if not name.startswith("best/"))
        line = f"  epoch {epoch}/{self.recipe.max_epochs}  loss {loss:.4f}{shown}  [dim]{rate:.0f} rows/s[/dim]"
        self.progress.say.remote(line)
        return metrics

    def _save(self) -> None:
        """Report a checkpoint of this step; all ranks take part, rank 0 writes."""
        self.state.scaler = self.step.scaler.state_dict()
        metrics = {"step": self.state.step}
        if self.shard.rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(Path(folder), self.task.model, self.step.optimizer, asdict(self.state), self.step.averages)
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _restore(self) -> Progression:
        found, state = ray.train.get_checkpoint(), Progression()
        if found is not None:
            with found.as_directory() as folder:
                record = checkpoint.load(Path(folder), self.task.model, self.step.optimizer, self.step.averages)
            state = Progression(**record)
            if state.scaler:
                self.step.scaler.load_state_dict(state.scaler)
        few = self.shard.world < self.workers.num
        if self.shard.rank == 0 and (few or found is not None):
            begins = "beginning" if found is None else "going on"
            workers = f", with {self.shard.world} of {self.workers.num} workers" if few else ""
            self.progress.say.remote(f"  [dim]{begins} from step {state.step} of {self.num_steps}{workers}[/dim]")
        return state
