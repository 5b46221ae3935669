"""The real training path: Ray Train workers, gloo, checkpoints, tracking, on random vectors and triplets."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from covr import tables
from covr.errors import UserError
from covr.losses import HardNegativeNCE
from covr.models import (
    AIM,
    AIMConfig,
    ComposedRetriever,
    FusionConfig,
    RetrieverConfig,
    TextConfig,
    TextEncoder,
    build_fusion,
)
from covr.storage import Place, TableStore
from covr.tracking import RunLogger
from covr.tracking.journal import Journal
from covr.train.fit import fit
from covr.train.recipe import Recipe
from covr.train.triplets import TripletTask
from covr.train.vectors import Vectors
from covr.train.workers import Workers

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests

NUM_TRIPLETS, DIM = 13, 16
RECIPE = Recipe(max_epochs=2, batch_size=5, lr=1e-3, weight_decay=0.05, warmup=0.1, clip_grad=1.0, seed=1)
ONE_WORKER = Workers(num=1, use_gpu=False, threads=1, data_cpus=0, checkpoint_every_s=0, log_every_n_steps=1)


def tiny_retriever() -> ComposedRetriever:
    """Without dropout, so that the number of workers changes nothing."""
    video = AIM(AIMConfig(image_size=16, num_frames=2, dim=DIM, depth=1, num_heads=2)).requires_grad_(False)
    text = TextEncoder(
        TextConfig(layers=1, dim=16, num_heads=2, ffn_dim=32, dropout=0.0, max_positions=16, max_tokens=16), DIM
    )
    fusion = build_fusion(FusionConfig(projection_dim=16, hidden_dim=16, dropout=0.0), DIM)
    return ComposedRetriever(RetrieverConfig(center=True, query_video="unit"), video, text, fusion)


class RecordedTask(TripletTask):
    """Notes which triplets this rank reads and the gradient of the first step; may kill its own process once."""

    def __init__(self, shard, *, record: str, kill_at: int | None = None, **options) -> None:
        super().__init__(shard, **options)
        self.record, self.kill_at, self.steps = Path(record), kill_at, 0

    def batches(self, order, first, last):
        for step, batch in enumerate(super().batches(order, first, last), first):
            if step == self.kill_at and self.shard.rank == self.shard.world - 1 and not self.record.exists():
                self.record.mkdir(parents=True)
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    def loss(self, outputs, batch):
        self.record.mkdir(parents=True, exist_ok=True)
        local = slice(batch["offset"], batch["offset"] + len(batch["rows"]))
        with (self.record / f"rows-{self.shard.rank}.txt").open("a") as file:
            file.writelines(f"{row}\n" for row in batch["rows"][batch["valid"][local].numpy()])
        if self.steps == 1 and self.shard.rank == 0:  # the first step's gradient is still there
            gradients = {name: p.grad.numpy() for name, p in self.model.named_parameters() if p.grad is not None}
            np.savez(self.record / "gradients.npz", **gradients)
        self.steps += 1
        return super().loss(outputs, batch)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Place:
    """Tables of 13 triplets over 12 clips of 4 labels, several right answers each, and the clips' random vectors."""
    root = Place(tmp_path_factory.mktemp("triplets"))
    clips = [f"clip{n:02d}" for n in range(12)]
    triplets = [
        {
            "query_id": f"{split}{n}",
            "query_clip": clips[(4 * n + n % 4 + 1) % 12],  # of the label before
            "modifications": [f"show it {n % 4} times", f"{n % 4} times please"],
            "target_clips": [clip for place, clip in enumerate(clips) if place % 4 == n % 4],
            "target_label": f"label{n % 4}",
            "galleries": [("corrected", "all")],
            "split": split,
        }
        for split in ("train", "val")
        for n in range(NUM_TRIPLETS)
    ]
    store = TableStore(root / "tables" / "triplets", "triplets")
    store.publish(tables.from_rows("triplets", triplets), "triplets-of-the-test")
    galleries = [{"gallery_id": "all", "clip_id": clip} for clip in clips]
    TableStore(root / "tables" / "galleries", "galleries").publish(tables.from_rows("galleries", galleries), "g")
    vectors = np.random.default_rng(0).normal(size=(12, DIM)).astype(np.float32)
    Vectors.write(root / "vectors.arrow", clips, vectors)
    return root


class Outcome:
    """One finished training run."""

    def __init__(self, root: Place, name: str, workers: Workers, recipe: Recipe = RECIPE, **options) -> None:
        self.record = Path(str(root / "record" / name))
        run = RunLogger(Journal(root, name))  # what MLflow is told of; it is not needed here
        make_task = partial(
            RecordedTask,
            build=tiny_retriever,
            loss=HardNegativeNCE(),
            weight=1.0,
            root=root,
            vectors=root / "vectors.arrow",
            out=root / "out" / name,
            record=str(self.record),
            **options,
        )
        self.checkpoints = root / "checkpoints" / name
        self.result = fit(
            make_task, recipe=recipe, workers=workers, logger=run, checkpoints=self.checkpoints, name="run"
        )
        self.curves = run.journal.curves()
        self.parameters = dict(ComposedRetriever.load(root / "out" / name).named_parameters())

    def losses(self) -> np.ndarray:
        """By step, every step once."""
        steps, losses = zip(*self.curves["loss"], strict=True)
        assert steps == tuple(range(1, len(steps) + 1))
        return np.array(losses)

    def rows(self) -> list[int]:
        return sorted(int(row) for path in self.record.glob("rows-*.txt") for row in path.read_text().split())


@pytest.fixture(scope="module")
def calm(root, ray_cluster) -> dict[int, Outcome]:
    """The same training on 1, 2 and 3 workers; 5 rows a batch divide by none but 1."""
    return {num: Outcome(root, f"calm{num}", replace(ONE_WORKER, num=num)) for num in (1, 2, 3)}


@pytest.mark.parametrize("num", [1, 2, 3])
def test_every_triplet_is_read_exactly_once_an_epoch(calm, num):
    assert calm[num].rows() == sorted([*range(NUM_TRIPLETS)] * RECIPE.max_epochs)


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
    np.testing.assert_allclose(killed.losses(), calm[2].losses(), rtol=0, atol=1e-6)
    for name, parameter in calm[2].parameters.items():
        np.testing.assert_allclose(
            killed.parameters[name].detach(), parameter.detach(), rtol=0, atol=1e-6, err_msg=name
        )
    assert killed.curves["mAP@10"] == calm[2].curves["mAP@10"]


def test_overfits_one_batch_in_half_precision_after_a_torn_list_of_checkpoints(root, ray_cluster):
    # A kill may come while Ray Train writes its list of checkpoints: such a run starts anew.
    (root / "checkpoints" / "overfit" / "run" / "checkpoint_manager_snapshot.json").write_bytes(b'{"ray_version": ')
    recipe = replace(RECIPE, batch_size=NUM_TRIPLETS, max_epochs=80, lr=1e-2, warmup=0.0)
    workers = replace(ONE_WORKER, log_every_n_steps=20, check_val_every_n_epoch=40, precision="16-mixed")
    outcome = Outcome(root, "overfit", workers, recipe)
    losses = [loss for _, loss in outcome.curves["loss"]]
    assert losses[-1] < 0.3 * losses[0]
    assert outcome.result["mAP@10"] > 90
    assert [step for step, _ in outcome.curves["mAP@10"]] == [40, 80]


def test_a_loss_that_is_no_number_ends_in_one_line(root, ray_cluster):
    with pytest.raises(UserError, match="the loss is nan at step"):
        Outcome(root, "diverged", ONE_WORKER, replace(RECIPE, lr=1e30, clip_grad=None))
    assert (root / "checkpoints" / "diverged" / "run").list(), "the last checkpoint is kept"
