"""Recorded motions: loading, changing their tempo, mirroring, and joining them with a cross-fade.

Everything runs at `RATE` frames a second. Shapes as in `skeleton`: F frames, R rotating joints.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from covr.datasets.motions.skeleton import ROTATING, about_y, mix, multiply, rotate

RATE = 60
FADE = 12
"""Frames of a cross-fade: 0.2 s."""
DATA = resources.files("covr.datasets.motions") / "data"
_FLOOR_PLANE = np.array([1.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Motion:
    """A motion: `root_F3` in metres and `rotations_FR4` as unit quaternions."""

    root_F3: np.ndarray
    rotations_FR4: np.ndarray

    def __len__(self) -> int:
        return len(self.root_F3)

    def take(self, frames: np.ndarray | slice) -> Motion:
        return Motion(self.root_F3[frames], self.rotations_FR4[frames])

    def moved(self, offset_3: np.ndarray) -> Motion:
        return Motion(self.root_F3 + offset_3, self.rotations_FR4)

    def stretched(self, num_frames: int) -> Motion:
        """The whole motion in `num_frames` frames (at least 2)."""
        at = np.linspace(0, len(self) - 1, num_frames)
        low = np.minimum(at.astype(int), len(self) - 2)
        weight = at - low
        root = self.root_F3[low] + (self.root_F3[low + 1] - self.root_F3[low]) * weight[:, None]
        return Motion(root, mix(self.rotations_FR4[low], self.rotations_FR4[low + 1], weight))


@functools.cache
def load(name: str) -> Motion:
    """The recording `name`, starting above the origin and turned so that it travels along +x on the whole."""
    frames = np.array(json.loads((DATA / f"humanoid3d_{name}.txt").read_text())["Frames"])
    rotations = np.zeros((len(frames), len(ROTATING), 4))
    for i, joint in enumerate(ROTATING):
        column = joint.column
        if joint.hinge:
            half = frames[:, column] / 2
            rotations[:, i, 0], rotations[:, i, 3] = np.cos(half), np.sin(half)
        else:
            quaternions = frames[:, column : column + 4]
            rotations[:, i] = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    times = np.concatenate([[0.0], np.cumsum(frames[:-1, 0])])
    root = frames[:, 1:4] - frames[0, 1:4] * _FLOOR_PLANE
    return _turned(_at_rate(times, root, rotations))


def _at_rate(times_F: np.ndarray, root_F3: np.ndarray, rotations_FR4: np.ndarray) -> Motion:
    """Keyframes at uneven times as a motion at RATE."""
    at = np.linspace(0, times_F[-1], round(times_F[-1] * RATE) + 1)
    low = np.clip(np.searchsorted(times_F, at, side="right") - 1, 0, len(times_F) - 2)
    weight = (at - times_F[low]) / (times_F[low + 1] - times_F[low])
    root = root_F3[low] + (root_F3[low + 1] - root_F3[low]) * weight[:, None]
    return Motion(root, mix(rotations_FR4[low], rotations_FR4[low + 1], weight))


def _turned(motion: Motion) -> Motion:
    x, _, z = motion.root_F3[-1] - motion.root_F3[0]
    turn = about_y(np.arctan2(z, x))
    rotations = motion.rotations_FR4.copy()
    rotations[:, 0] = multiply(turn, rotations[:, 0])
    return Motion(rotate(turn, motion.root_F3), rotations)


def repeated(motion: Motion, start: int, num_frames: int) -> Motion:
    """`num_frames` frames of the motion in a loop from frame `start`, each cycle going on where the last ended."""
    cycle, step = np.divmod(start + np.arange(num_frames), len(motion) - 1)
    travel = (motion.root_F3[-1] - motion.root_F3[0]) * _FLOOR_PLANE
    return Motion(motion.root_F3[step] + cycle[:, None] * travel, motion.rotations_FR4[step])


def held(motion: Motion, frame: int, num_frames: int) -> Motion:
    """Standing still in the pose of one frame."""
    return motion.take(np.full(num_frames, frame % len(motion)))


def joined(parts: Sequence[Motion]) -> Motion:
    """The parts one after the other, `FADE` frames of each border mixed; every part starts where the last one is.

    Its length is `joined_length` of theirs. Each part has more than 2 * FADE frames, or FADE at either end.
    """
    whole = parts[0]
    weight = (np.arange(FADE) + 0.5) / FADE
    for part in parts[1:]:
        part = part.moved((whole.root_F3[-FADE] - part.root_F3[0]) * _FLOOR_PLANE)
        tail, head = whole.take(slice(-FADE, None)), part.take(slice(FADE))
        root = tail.root_F3 + (head.root_F3 - tail.root_F3) * weight[:, None]
        rotations = mix(tail.rotations_FR4, head.rotations_FR4, weight)
        whole = Motion(
            np.concatenate([whole.root_F3[:-FADE], root, part.root_F3[FADE:]]),
            np.concatenate([whole.rotations_FR4[:-FADE], rotations, part.rotations_FR4[FADE:]]),
        )
    return whole


def joined_length(lengths: Sequence[int]) -> int:
    """How many frames `joined` yields for parts of these lengths."""
    return sum(lengths) - FADE * (len(lengths) - 1)
