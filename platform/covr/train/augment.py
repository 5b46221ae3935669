"""What stage 1 does at random to the frames of a clip: shifts, light, mirroring.

Everything is uint8 and drawn per clip from a generator of its own; normalisation comes after, in the encoder.

Shapes: T frames, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covr.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """Mirroring of half of the clips, which exchanges two values of one attribute and so changes the label."""

    attribute: str
    swap: tuple[str, str]

    def __post_init__(self) -> None:
        if len(self.swap) != 2:
            raise UserError("a flip swaps two values", f"augment.flip.swap={list(self.swap)}", "give [left, right]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """How much."""

    shift: int = 0
    """Pixels in each direction; edges are repeated."""
    gain: float = 0.0
    """Share by which a clip becomes lighter or darker; an offset of up to `gain` x 64 is added too."""
    flip: Flip | None = None
    """None: never mirrored. Mirroring without saying what it does to the label is not offered."""

    def __call__(self, frames_TCHW: np.ndarray, mirrored: bool, rng: np.random.Generator) -> np.ndarray:
        """Frames of one clip, uint8 (T, 3, H, W), to the same."""
        down, right = rng.integers(-self.shift, self.shift, size=2, endpoint=True)
        gain, offset = rng.uniform(-self.gain, self.gain, size=2)
        height, width = frames_TCHW.shape[2:]
        ys = np.clip(np.arange(height) + down, 0, height - 1)
        xs = np.clip(np.arange(width) + right, 0, width - 1)
        light = np.clip(np.arange(256) * (1 + gain) + 64 * offset, 0, 255).astype(np.uint8)
        return light[frames_TCHW[:, :, ys[:, None], xs[::-1] if mirrored else xs]]

    def mirrored(self, num_rows: int, rng: np.random.Generator) -> np.ndarray:
        """Which rows of a global batch are mirrored, bool (num_rows,)."""
        return rng.random(num_rows) < (0.5 if self.flip else 0.0)
