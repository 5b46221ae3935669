"""Stage 1 through Ray Train and Ray Data, on random frames."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from ray import cloudpickle

from covr import tables
from covr.clips import Sampling
from covr.models import load_video
from covr.storage import Place
from covr.tracking import RunLogger
from covr.tracking.journal import Journal
from covr.train.actions import ActionSettings, ActionTask
from covr.train.augment import Augment, Flip
from covr.train.batches import ActionBatches
from covr.train.fit import fit
from covr.train.order import Order
from covr.train.recipe import Recipe
from covr.train.task import Shard
from covr.train.workers import Workers

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests

MODEL = OmegaConf.create(
    {
        "init": "scratch",
        "video": {
            "_target_": "covr.models.video.aim.AIMConfig",
            "image_size": 16,
            "num_frames": 3,
            "dim": 32,
            "depth": 1,
            "num_heads": 2,
            "drop_path": 0.0,
            "init": "xavier",
            "pooling": "mean",
        },
    }
)
FLIP = Flip(attribute="side", swap=("left", "right"))
SETTINGS = ActionSettings(
    label_smoothing=0.0,
    attribute_weight=0.5,
    attribute_smoothing=0.0,
    dropout=0.0,
    freeze="none",
    augment=Augment(flip=FLIP),
)
LABELS = [("kick", "left"), ("kick", "right"), ("roll", "left"), ("roll", "right")]


@dataclass(frozen=True)
class NumberedFrames:
    """Clip `train-n` shows noise of its own, 5 frames of it; the same number is the same clip in every split."""

    def sample(self, clip_id: str, sampling: Sampling, rng: np.random.Generator | None = None) -> np.ndarray:
        number = int(clip_id.rsplit("-", 1)[1])
        frames = np.random.default_rng(number).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
        return frames[sampling.indices(len(frames), rng)]


def clips_table():
    return tables.from_rows(
        "clips",
        [
            {
                "clip_id": f"{split}-{n}",
                "label": " ".join(LABELS[n % 4]),
                "attributes": list(zip(("element", "side"), LABELS[n % 4], strict=True)),
                "split": split,
            }
            for split in ("train", "val", "test")
            for n in range(7)
        ],
    )


def task(place: Place, rank: int = 0, world: int = 1) -> ActionTask:
    return ActionTask(
        Shard(rank=rank, world=world, device=torch.device("cpu"), data_cpus=1),
        model=MODEL,
        settings=SETTINGS,
        clips=clips_table(),
        frames=NumberedFrames(),
        out=place,
        logger=RunLogger(Journal(place, "actions")),
    )


@pytest.mark.parametrize("world", [2, 3])
def test_shares_of_the_ranks_add_up_to_the_loss_of_one(tmp_path, world):
    whole = task(Place(tmp_path))
    parts = [task(Place(tmp_path), rank, world) for rank in range(world)]
    for part in parts:
        part.model.load_state_dict(whole.model.state_dict())

    def share(one: ActionTask, step: int) -> torch.Tensor:
        made = ActionBatches.of(
            one.splits["train"],
            one.classes,
            one.frames,
            sampling=one.encoder.sampling,
            augment=SETTINGS.augment,
            order=Order(num_rows=7, batch_size=4, seed=0),
            shard=one.shard,
        )
        batch = made.batch(step, made.frames(step))
        return one.loss(one.forward(one.model, batch), batch)

    for step in range(2):
        torch.testing.assert_close(sum(share(part, step) for part in parts), share(whole, step), rtol=0, atol=1e-6)


def test_learns_its_clips_by_heart_on_two_workers_and_saves_the_encoder(tmp_path, ray_cluster):
    root = Place(tmp_path)
    run = RunLogger(Journal(root, "pretrain"))  # what MLflow is told of; it is not needed here
    result = fit(
        partial(
            ActionTask,
            model=MODEL,
            settings=SETTINGS,
            clips=clips_table(),
            frames=NumberedFrames(),
            out=root / "pretrain",
            logger=run,
        ),
        recipe=Recipe(max_epochs=60, batch_size=7, lr=3e-3, weight_decay=0.0, warmup=0.1, clip_grad=1.0, seed=0),
        workers=Workers(num=2, use_gpu=False, threads=1, data_cpus=1, check_val_every_n_epoch=30),
        logger=run,
        checkpoints=root / "pretrain" / "checkpoints",
        name="run",
    )
    assert result["top1"] == result["top5"] == 1.0
    assert result["attributes"] == {"element": 1.0, "side": 1.0}
    assert result["best"]["top-1"] == 1.0
    assert load_video(root / "pretrain" / "model").fingerprint() == result["encoder"]
    confusion = (root / "pretrain" / "confusion.json").read_json()
    assert confusion["labels"] == sorted(" ".join(label) for label in LABELS)
    assert np.array_equal(confusion["counts"], np.diag([2, 2, 2, 1]))
    assert run.journal.curves()["top-1"][-1] == (60, 1.0)
