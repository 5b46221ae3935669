"""Training from the driver's side: one Ray Train run, resumed under its name, its progress printed as it goes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillRunning
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train import CheckpointConfig, ControllerError, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from covr.errors import UserError
from covr.report.console import say
from covr.storage import Place
from covr.storage.remote import for_arrow
from covr.tracking import RunLogger
from covr.train.leftovers import free_leftovers
from covr.train.loop import Assignment, MakeTask, work
from covr.train.progress import Progress
from covr.train.recipe import Recipe
from covr.train.workers import Workers

Watch = Callable[[dict[str, float]], None]


def fit(
    make_task: MakeTask,
    *,
    recipe: Recipe,
    workers: Workers,
    logger: RunLogger,
    checkpoints: Place,
    name: str,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train to the end, from the last checkpoint below `checkpoints` of a run of the same `name` if there is one.

    Args:
        make_task: builds the task in each worker; picklable.
        recipe: how weights are optimised.
        workers: where and how it runs.
        logger: the MLflow run that rank 0 logs to.
        checkpoints: a folder for the state of training runs.
        name: names the run; a fingerprint of everything that decides the result. Runs of other names are removed
            once this one has ended.
        watch: called in this process with each validation: the primary metric, and `epoch`.

    Returns:
        The task's result with `best` (validation), `steps` and `rows_per_s`.

    Raises:
        UserError: the loss diverged, or the task refused its input.
        ray.train.TrainingFailedError: workers failed more often than `workers.max_failures`.
    """
    _discard_torn_snapshot(checkpoints / name)
    # Beside the driver: on a node that trains it would be lost with that node, and the training with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0)(Progress)
    progress = actor.options(scheduling_strategy=here).remote()
    assignment = Assignment(make_task=make_task, recipe=recipe, workers=workers, logger=logger, progress=progress)
    make_trainer = partial(
        TorchTrainer,
        # Bound, not as `train_loop_config`: the controller would read that too, and import every model for it.
        partial(work, assignment),  # type: ignore[arg-type]  # its return value is ours
        scaling_config=ScalingConfig(
            num_workers=workers.span,  # type: ignore[arg-type]  # written for Train's first version
            use_gpu=workers.use_gpu,
            resources_per_worker={"CPU": workers.threads, **workers.resources},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=checkpoints.path,
            storage_filesystem=None if checkpoints.is_local else for_arrow(str(checkpoints)),
            failure_config=FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    starts = workers.max_failures
    while True:
        try:
            result = _run(make_trainer(), progress, watch)
            break
        except TrainingFailedError as error:
            if not starts or not _lost_at_start(error):
                refusal = ray.get(progress.refusal.remote())
                raise (UserError(*refusal) if refusal else error) from None
        starts -= 1
        say("  a training worker was lost as it started; training goes on with another")
        free_leftovers()
    if result is None:
        raise UserError(*ray.get(progress.refusal.remote()))
    for other in checkpoints.list():
        if other != name:
            (checkpoints / other).remove()
    return result


def _run(trainer: Any, progress: Any, watch: Watch | None) -> dict[str, Any] | None:
    """What rank 0 returned; the driver's own thread prints, and so stays open to Ctrl-C."""
    outcome: Future = Future()

    def fit_trainer() -> None:
        try:
            outcome.set_result(trainer.fit().return_value)
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=fit_trainer, daemon=True, name="train").start()
    while True:
        try:
            return outcome.result(timeout=0.5)
        except StillRunning:
            if outcome.done():
                raise  # the training's own timeout, not ours
        finally:
            for line in ray.get(progress.take.remote()):
                say(line)
            if watch is not None:
                for metrics in ray.get(progress.take_validated.remote()):
                    watch(metrics)


def _lost_at_start(error: TrainingFailedError) -> bool:
    """Whether a worker died before it trained, which Ray Train takes for a failure of its own and does not mend."""
    return isinstance(error, ControllerError) and isinstance(error.controller_failure, RayActorError)


def _discard_torn_snapshot(run: Place) -> None:
    """Forget a run whose list of checkpoints was cut short by a kill; Ray Train writes that list in place."""
    snapshot = run / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
    if not snapshot.exists():
        return
    try:
        snapshot.read_json()
    except json.JSONDecodeError:
        say(f"[dim]{run}: the list of checkpoints is incomplete; training starts from the beginning[/dim]")
        run.remove()
