"""The real training path: Ray Train workers, gloo, checkpoints, tracking, on random vectors and triplets."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
import tiny_triplets
import torch
from ray import cloudpickle
from ray.train import TrainingFailedError
from safetensors.torch import load_file

from covr.errors import UserError
from covr.losses import HardNegativeNCE, WeightedTargets
from covr.models import ComposedRetriever
from covr.storage import Place
from covr.tracking import RunLogger
from covr.tracking.journal import Journal
from covr.train import checkpoint
from covr.train.fit import fit
from covr.train.recipe import Recipe
from covr.train.triplets import TripletTask
from covr.train.workers import Workers

for module in (sys.modules[__name__], tiny_triplets):
    cloudpickle.register_pickle_by_value(module)  # workers cannot import the tests

RECIPE = Recipe(max_epochs=3, batch_size=5, lr=1e-3, weight_decay=0.05, warmup=0.1, clip_grad=1.0, seed=1, ema=0.9)
ONE_WORKER = Workers(
    num=1,
    use_gpu=False,
    threads=1,
    data_cpus=0,
    checkpoint_every_s=0,
    log_every_n_steps=1,
    check_val_every_n_epoch=2,
    deterministic=True,
    load_every_s=0,
)


class RecordedTask(TripletTask):
    """Notes which triplets this rank reads and the gradient of the first step; may kill its own process once."""

    def __init__(self, shard, *, record: str, kill_at: int | None = None, **options) -> None:
        super().__init__(shard, **options)
        self.record, self.kill_at, self.steps = Path(record), kill_at, 0

    def batches(self, order, first, last):
        for step, batch in enumerate(super().batches(order, first, last), first):
            mark = self.record.with_suffix(".killed")
            if step == self.kill_at and self.shard.rank == self.shard.world - 1 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            self.step = step
            yield batch

    def loss(self, outputs, batch):
        self.record.mkdir(parents=True, exist_ok=True)
        local = slice(batch["offset"], batch["offset"] + len(batch["rows"]))
        with (self.record / f"rows-{self.shard.rank}.txt").open("a") as file:
            rows = batch["rows"][batch["valid"][local].numpy()]
            file.writelines(f"{row}\n" for row in rows)
        by_step = self.record / "steps" / str(self.step) / str(self.shard.world)
        by_step.mkdir(parents=True, exist_ok=True)
        np.save(by_step / f"{self.shard.rank}.npy", rows)
        assert torch.are_deterministic_algorithms_enabled()
        if self.steps == 1 and self.shard.rank == 0:  # the first step's gradient is still there
            gradients = {name: p.grad.numpy() for name, p in self.model.named_parameters() if p.grad is not None}
            np.savez(self.record / "gradients.npz", **gradients)
        self.steps += 1
        return super().loss(outputs, batch)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Place:
    root = Place(tmp_path_factory.mktemp("triplets"))
    tiny_triplets.build(root)
    return root


class DiesOnArrival(str):
    """A path that kills the first process which is sent it."""

    def __reduce__(self):
        return _arrive, (str(self),)


def _arrive(path: str) -> str:
    mark = Path(f"{path}.arrived")
    if not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


class Outcome:
    """One finished training run."""

    def __init__(
        self, root: Place, name: str, workers: Workers, recipe: Recipe = RECIPE, as_sent: type[str] = str, **options
    ) -> None:
        self.record = Path(str(root / "record" / name))
        run = RunLogger(Journal(root, name))  # what MLflow is told of; it is not needed here
        make_task = partial(
            RecordedTask,
            build=tiny_triplets.retriever,
            loss=WeightedTargets(HardNegativeNCE(), {"si_ti": 0.5, "si_tc": 0.5}),
            root=root,
            vectors=root / "vectors.arrow",
            out=root / "out" / name,
            record=as_sent(self.record),
            **options,
        )
        self.checkpoints = root / "checkpoints" / name
        self.result = fit(
            make_task, recipe=recipe, workers=workers, logger=run, checkpoints=self.checkpoints, name="run"
        )
        self.curves = run.journal.curves()
        self.parameters = dict(ComposedRetriever.load(root / "out" / name).named_parameters())

    def last_checkpoint(self) -> Path:
        """The state that was registered last."""
        (file,) = Path(str(self.checkpoints)).glob(f"run/checkpoint_*/{checkpoint.FILE}")
        return file

    def losses(self) -> np.ndarray:
        """By step, every step once."""
        steps, losses = zip(*self.curves["loss"], strict=True)
        assert steps == tuple(range(1, len(steps) + 1))
        return np.array(losses)

    def rows(self) -> list[int]:
        return sorted(int(row) for path in self.record.glob("rows-*.txt") for row in path.read_text().split())


@pytest.fixture(scope="module")
def calm(root, ray_cluster) -> dict[int, Outcome]:
    """The same training on 1, 2 and 3 workers; 5 rows a batch divide by none but 1.

    The one starts where a kill came while Ray Train wrote its list of checkpoints; the three encode row by row.
    """
    (root / "checkpoints" / "calm1" / "run" / "checkpoint_manager_snapshot.json").write_bytes(b'{"ray_version": ')
    options = {3: {"gradcache_rows": 1, "gradient_checkpointing": True}}
    return {num: Outcome(root, f"calm{num}", replace(ONE_WORKER, num=num, **options.get(num, {}))) for num in (1, 2, 3)}


@pytest.mark.parametrize("num", [1, 2, 3])
def test_every_triplet_is_read_exactly_once_an_epoch(calm, num):
    assert calm[num].rows() == sorted([*range(tiny_triplets.NUM_TRIPLETS)] * RECIPE.max_epochs)


def test_every_worker_tells_what_it_takes(calm):
    for rank in range(2):
        steps, megabytes = zip(*calm[2].curves[f"system/worker_{rank}/memory_usage_megabytes"], strict=True)
        assert steps == tuple(range(1, 10))
        assert all(50 < each < 20_000 for each in megabytes)
        assert any(value > 0 for _, value in calm[2].curves[f"system/worker_{rank}/cpu_utilization_percentage"])


@pytest.mark.parametrize("num", [2, 3])
def test_many_workers_give_the_loss_gradients_and_parameters_of_one(calm, num):
    one, many = calm[1], calm[num]
    np.testing.assert_allclose(many.losses()[0], one.losses()[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(many.losses(), one.losses(), rtol=0, atol=1e-3)
    gradients, expected = (np.load(outcome.record / "gradients.npz") for outcome in (many, one))
    assert set(gradients) == set(expected)
    for name in expected:
        np.testing.assert_allclose(gradients[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


def test_a_killed_worker_goes_on_as_the_calm_run(calm, root):
    killed = Outcome(root, "killed", replace(ONE_WORKER, num=2), kill_at=4)
    assert killed.record.with_suffix(".killed").exists()
    np.testing.assert_allclose(killed.losses(), calm[2].losses(), rtol=0, atol=1e-6)
    for name, parameter in calm[2].parameters.items():
        np.testing.assert_allclose(
            killed.parameters[name].detach(), parameter.detach(), rtol=0, atol=1e-6, err_msg=name
        )
    assert killed.curves["mAP@10"] == calm[2].curves["mAP@10"]


@pytest.mark.drill
def test_a_change_of_workers_in_the_middle_reads_every_triplet_once(calm, root):
    """Two workers until one dies, then three: every triplet once an epoch, the loss curve that of one worker."""
    two = replace(ONE_WORKER, num=2, max_failures=0)
    with pytest.raises(TrainingFailedError):
        Outcome(root, "changed", two, kill_at=4)
    changed = Outcome(root, "changed", replace(ONE_WORKER, num=3), kill_at=4)  # not killed again: it has been
    np.testing.assert_allclose(changed.losses(), calm[1].losses(), rtol=0, atol=1e-3)
    steps = {int(step.name): step for step in (changed.record / "steps").iterdir()}
    by_world = {number: max(step.iterdir(), key=lambda world: int(world.name)) for number, step in steps.items()}
    assert {world.name for world in by_world.values()} == {"2", "3"}
    per_epoch = len(steps) // RECIPE.max_epochs
    for epoch in range(RECIPE.max_epochs):
        worlds = [by_world[number] for number in range(epoch * per_epoch, (epoch + 1) * per_epoch)]
        read = [row for world in worlds for part in world.iterdir() for row in np.load(part).tolist()]
        assert sorted(read) == list(range(tiny_triplets.NUM_TRIPLETS))


def test_a_worker_that_dies_before_it_trains_is_replaced(root, ray_cluster, capsys):
    """Ray Train took that for a failure of its own and gave up, however many failures were allowed; and the CPUs of the
    lost one stayed taken, so that the decoding of what came next waited for them."""
    free = ray.available_resources()["CPU"]
    stillborn = Outcome(root, "stillborn", ONE_WORKER, as_sent=DiesOnArrival)
    assert len(stillborn.losses()) == 9
    assert "lost as it started" in capsys.readouterr().out
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < free:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_validates_when_asked_and_saves_the_averaged_weights(calm):
    assert [step for step, _ in calm[1].curves["mAP@10"]] == [6, 9], "every second epoch of three steps, and the last"
    stored = load_file(calm[1].last_checkpoint())
    name = "fusion.combiner.output_layer.weight"
    assert torch.equal(calm[1].parameters[name], stored[f"average.{name}"])
    assert not torch.equal(calm[1].parameters[name], stored[f"model.{name}"])


def test_a_loss_that_is_no_number_ends_in_one_line(root, ray_cluster):
    with pytest.raises(UserError, match="the loss is nan at step"):
        Outcome(root, "diverged", ONE_WORKER, replace(RECIPE, lr=1e30, clip_grad=None))
    assert (root / "checkpoints" / "diverged" / "run").list(), "the last checkpoint is kept"
