from __future__ import annotations

import numpy as np
import torch

from covr import tables
from covr.clips import Sampling
from covr.train.augment import Augment, Flip
from covr.train.batches import ActionBatches
from covr.train.classes import IGNORED, Classes
from covr.train.order import Order
from covr.train.task import Shard

ORDER = Order(num_rows=7, batch_size=4, seed=0)
SAMPLING = Sampling(num_frames=3)
LABELS = [("kick", "left"), ("kick", "right"), ("roll", "left"), ("roll", "right")]
CLIPS = tables.from_rows(
    "clips",
    [
        {
            "clip_id": str(n),
            "label": " ".join(LABELS[n % 4]),
            "attributes": list(zip(("element", "side"), LABELS[n % 4], strict=True)),
        }
        for n in range(7)
    ],
)


class Noise:
    """Each clip is noise of its own, 5 frames of it."""

    def sample(self, clip_id: str, sampling: Sampling, rng: np.random.Generator | None = None) -> np.ndarray:
        frames = np.random.default_rng(int(clip_id)).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
        return frames[sampling.indices(len(frames), rng)]


def batch(step: int, rank: int = 0, world: int = 1) -> dict:
    made = ActionBatches.of(
        CLIPS,
        Classes.of(CLIPS, with_attributes=True),
        Noise(),
        sampling=SAMPLING,
        augment=Augment(flip=Flip(attribute="side", swap=("left", "right"))),
        order=ORDER,
        shard=Shard(rank=rank, world=world, device=torch.device("cpu"), data_cpus=1),
    )
    return made.batch(step, made.frames(step))


def test_the_ranks_together_have_the_batch_of_one():
    for step in range(4):
        one, parts = batch(step), [batch(step, rank, 3) for rank in range(3)]
        frames, targets = (torch.cat([part[name] for part in parts]) for name in ("frames", "targets"))
        kept, expected = (values[:, 1] != IGNORED for values in (targets, one["targets"]))
        assert torch.equal(frames[kept], one["frames"][expected])
        assert torch.equal(targets[kept], one["targets"][expected])
        assert [part["counts"] for part in parts] == [one["counts"]] * 3
        assert len({len(part["frames"]) for part in parts}) == 1
    assert [batch(step)["counts"][1] for step in range(4)] == [4, 3, 4, 3], "padding has no targets"


def test_a_mirrored_clip_has_the_mirrored_targets():
    seen = set()
    for step in range(8):
        found, rows = batch(step), ORDER.global_batch(step)
        for place in np.flatnonzero(rows.valid):
            number = rows.rows[place]
            plain = Noise().sample(str(number), SAMPLING, ORDER.generator(step, int(place)))
            mirrored = not np.array_equal(found["frames"][place], plain)
            assert np.array_equal(found["frames"][place], plain[..., ::-1] if mirrored else plain)
            element, side = LABELS[number % 4]
            side = {"left": "right", "right": "left"}[side] if mirrored else side
            expected = [LABELS.index((element, side)), ("kick", "roll").index(element), ("left", "right").index(side)]
            assert found["targets"][place].tolist() == expected
            seen.add(mirrored)
    assert seen == {True, False}
