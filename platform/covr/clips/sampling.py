"""Which frames of a clip are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from covr.errors import UserError

Kind = Literal["uniform", "dense", "covr", "middle", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """A rule from the number of frames in a clip to the frames taken.

    Hash `dataclasses.asdict(sampling)` where a result depends on it.
    """

    kind: Kind = "uniform"
    """`uniform`: AIM's segments; their middle, or at random in each (training).
    `dense`: AIM's run of frames `interval` apart; centred, or from a random offset; wraps round in short clips.
    `covr`: CoVR's segments of `linspace(0, n, T + 1)`; short clips are padded (index -1, black frames).
    `middle`: frame n // 2, CoVR's query frame.
    `all`: every frame; evenly spaced ones where there are more than `num_frames`."""
    num_frames: int = 12
    """T: frames taken; of `all`, the most that are taken."""
    interval: int = 1
    """Frames from one to the next; of `dense` only."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"no sampling {self.kind!r}", "sampling.kind", f"choose one of {', '.join(get_args(Kind))}")
        if self.num_frames < 1 or self.interval < 1:
            raise UserError("num_frames and interval start from 1", "sampling", "give at least 1")
        if self.kind == "middle" and self.num_frames != 1:
            raise UserError("there is one middle frame", "sampling.num_frames", "give 1, or another kind")
        if self.interval != 1 and self.kind != "dense":
            raise UserError(
                "interval belongs to dense sampling", "sampling.interval", "leave it at 1, or use kind=dense"
            )

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """The frames to take from a clip of `num_frames` >= 1 frames.

        Args:
            rng: draws at random (training); None takes the middles (testing). `all` draws nothing.

        Returns:
            int64 (T,), ascending but for `dense` where it wraps; -1 is padding.
        """
        if num_frames < 1:
            raise ValueError("a clip without frames has nothing to sample")
        return _RULES[self.kind](self, num_frames, rng)


def _uniform(sampling: Sampling, n: int, rng: np.random.Generator | None) -> np.ndarray:
    edges = np.round((n - 1) / sampling.num_frames * np.arange(sampling.num_frames + 1)).astype(np.int64)
    first, last = edges[:-1], edges[1:]  # both belong to the segment
    return (first + last) // 2 if rng is None else rng.integers(first, last, endpoint=True)


def _dense(sampling: Sampling, n: int, rng: np.random.Generator | None) -> np.ndarray:
    offsets = max(n - sampling.num_frames * sampling.interval + 1, 0)  # where a whole run can start
    offset = 0 if offsets == 0 else offsets // 2 if rng is None else int(rng.integers(offsets))
    return (offset + np.arange(sampling.num_frames, dtype=np.int64) * sampling.interval) % n


def _covr(sampling: Sampling, n: int, rng: np.random.Generator | None) -> np.ndarray:
    taken = min(n, sampling.num_frames)
    edges = np.floor(np.linspace(0, n, taken + 1)).astype(np.int64)
    found = (edges[:-1] + edges[1:] - 1) // 2 if rng is None else rng.integers(edges[:-1], edges[1:])
    return np.pad(found, (0, sampling.num_frames - taken), constant_values=-1)


def _middle(sampling: Sampling, n: int, rng: np.random.Generator | None) -> np.ndarray:
    return np.array([n // 2])


def _all(sampling: Sampling, n: int, rng: np.random.Generator | None) -> np.ndarray:
    if n <= sampling.num_frames:
        return np.arange(n, dtype=np.int64)
    return np.round(np.linspace(0, n - 1, sampling.num_frames)).astype(np.int64)


_RULES = {"uniform": _uniform, "dense": _dense, "covr": _covr, "middle": _middle, "all": _all}
