"""Stage 1's batches as functions of the step's number: frames, made in whichever process, and their targets.

Shapes: P rows of the padded global batch, L of them on one rank, T frames, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from covr.clips import Sampling
from covr.train.augment import Augment
from covr.train.classes import IGNORED, Classes
from covr.train.clipframes import Frames
from covr.train.order import Order
from covr.train.task import Shard


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionBatches:
    """One rank's batches of augmented clips and class indices; picklable."""

    order: Order
    rank: int
    world: int
    source: Frames
    sampling: Sampling
    augment: Augment
    clip_ids: list[str]
    as_seen: np.ndarray
    """int64 (N, heads): targets of the clips, see `Classes`."""
    in_mirror: np.ndarray
    """Likewise, of the mirrored clips."""
    can_mirror: np.ndarray
    """bool (N,)."""

    @classmethod
    def of(
        cls,
        clips: pa.Table,
        classes: Classes,
        source: Frames,
        *,
        sampling: Sampling,
        augment: Augment,
        order: Order,
        shard: Shard,
    ) -> Self:
        """The batches of a clips table (its train split) in `order`, as `shard` gets them."""
        as_seen = classes.targets(clips)
        in_mirror, can_mirror = as_seen, np.zeros(len(clips), dtype=bool)
        if augment.flip is not None:
            in_mirror, can_mirror = classes.mirrored(clips, augment.flip)
        return cls(
            order=order,
            rank=shard.rank,
            world=shard.world,
            source=source,
            sampling=sampling,
            augment=augment,
            clip_ids=clips["clip_id"].to_pylist(),
            as_seen=as_seen,
            in_mirror=in_mirror,
            can_mirror=can_mirror,
        )

    def frames(self, step: int) -> np.ndarray:
        """uint8 (L, T, 3, H, W)."""
        batch = self.order.global_batch(step)
        part, rows, mirrored = batch.part(self.rank, self.world), batch.padded(self.world).rows, self._mirrored(step)
        return np.stack(
            [
                self._clip(rows[place], bool(mirrored[place]), self.order.generator(step, place))
                for place in range(part.start, part.stop)
            ]
        )

    def batch(self, step: int, frames_LTCHW: np.ndarray) -> dict[str, Any]:
        """Frames with their targets (L, heads), and how many targets each head has in the global batch."""
        batch = self.order.global_batch(step)
        padded = batch.padded(self.world)
        mirrored = self._mirrored(step)[:, None]
        targets = np.where(mirrored, self.in_mirror[padded.rows], self.as_seen[padded.rows])
        targets[~padded.valid] = IGNORED
        return {
            "frames": torch.from_numpy(frames_LTCHW),
            "targets": torch.from_numpy(targets[batch.part(self.rank, self.world)]),
            "counts": (targets != IGNORED).sum(axis=0).tolist(),
        }

    def _mirrored(self, step: int) -> np.ndarray:
        """Which rows are mirrored, bool (P,)."""
        rows = self.order.global_batch(step).padded(self.world).rows
        drawn = self.augment.mirrored(self.order.batch_size, self.order.generator(step))
        return np.resize(drawn, len(rows)) & self.can_mirror[rows]

    def _clip(self, row: int, mirrored: bool, rng: np.random.Generator) -> np.ndarray:
        return self.augment(self.source.sample(self.clip_ids[row], self.sampling, rng), mirrored, rng)
