"""Which rows a training step reads, on which rank: ours, so that every row is read exactly once an epoch.

The rows of an epoch are a seeded permutation, cut into global batches. A global batch is dealt to the ranks
in contiguous pieces of equal length; what is missing at the end of an epoch, or because the batch does not
divide by the ranks, is filled with repeated rows whose `valid` is False. The valid rows of a step, in order,
are therefore the same for every number of ranks.

Legend: B rows in a global batch, L rows of a global batch on one rank, W ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from covr.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The rows of one step, for all ranks or for one."""

    rows: np.ndarray
    """int64; indices into the task's list of rows."""
    valid: np.ndarray
    """bool, of the same length; False marks padding, and padding comes last."""

    def padded(self, world: int) -> Rows:
        """W * L rows, L = ceil(B / W), in the order of the ranks that get L each."""
        places = np.arange(-(-len(self.rows) // world) * world)
        inside = np.minimum(places, len(self.rows) - 1)
        return Rows(rows=self.rows[inside], valid=self.valid[inside] & (places == inside))

    def part(self, rank: int, world: int) -> slice:
        """Where in `padded(world)` the L rows of `rank` lie."""
        length = -(-len(self.rows) // world)
        return slice(rank * length, (rank + 1) * length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The order of `num_rows` rows in global batches of `batch_size`, for as many epochs as are asked for."""

    num_rows: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_rows < 1:
            raise UserError("there are no rows to train on", "split train", "give a data set with a train split")
        if self.batch_size < 1:
            raise UserError("a batch needs at least one row", f"batch_size={self.batch_size}", "give 1 or more")

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that global step `step`, from 0, belongs to."""
        return step // self.steps_per_epoch

    def global_batch(self, step: int) -> Rows:
        """The B rows of global step `step` on all ranks together."""
        start = step % self.steps_per_epoch * self.batch_size
        places = np.arange(start, start + self.batch_size)
        permutation = _permutation(self.num_rows, self.seed, self.epoch(step))
        return Rows(rows=permutation[places % self.num_rows], valid=places < self.num_rows)

    def generator(self, step: int, place: int = -1) -> np.random.Generator:
        """Random numbers of a step, or of one place in its global batch: the same on every rank and attempt."""
        return np.random.default_rng([self.seed, step, place + 1])


@lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    permutation = np.random.default_rng([seed, epoch]).permutation(num_rows)
    permutation.setflags(write=False)
    return permutation
