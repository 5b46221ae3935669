"""The performer's skeleton: rotations as quaternions, forward kinematics, the bones that are drawn.

Shapes: F frames, R rotating joints (13), J points (18). Quaternions are (w, x, y, z); metres, y up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Joint:
    """A point of the skeleton: where it hangs on its parent, and whether it turns what hangs on it."""

    name: str
    parent: str | None
    offset: tuple[float, float, float]
    """From the parent, in the parent's axes, metres (the published humanoid at the scale 0.25 it is used at)."""
    column: int = 0
    """Where a frame of the files keeps its rotation; 0: an end point, it has none."""
    hinge: bool = False
    """The rotation is one angle about z instead of a quaternion."""


JOINTS = (
    Joint("root", None, (0, 0, 0), 4),
    Joint("chest", "root", (0, 0.236151, 0), 8),
    Joint("neck", "chest", (0, 0.223894, 0), 12),
    Joint("right_hip", "root", (0, 0, 0.084887), 16),
    Joint("right_knee", "right_hip", (0, -0.421546, 0), 20, hinge=True),
    Joint("right_ankle", "right_knee", (0, -0.40987, 0), 21),
    Joint("right_shoulder", "chest", (-0.02405, 0.2435, 0.18311), 25),
    Joint("right_elbow", "right_shoulder", (0, -0.274788, 0), 29, hinge=True),
    Joint("left_hip", "root", (0, 0, -0.084887), 30),
    Joint("left_knee", "left_hip", (0, -0.421546, 0), 34, hinge=True),
    Joint("left_ankle", "left_knee", (0, -0.40987, 0), 35),
    Joint("left_shoulder", "chest", (-0.02405, 0.2435, -0.18311), 39),
    Joint("left_elbow", "left_shoulder", (0, -0.274788, 0), 43, hinge=True),
    Joint("right_wrist", "right_elbow", (0, -0.258947, 0)),
    Joint("left_wrist", "left_elbow", (0, -0.258947, 0)),
    Joint("head", "neck", (0, 0.175, 0)),
    Joint("right_toe", "right_ankle", (0.13, -0.03, 0)),
    Joint("left_toe", "left_ankle", (0.13, -0.03, 0)),
)
INDEX = {joint.name: i for i, joint in enumerate(JOINTS)}
ROTATING = tuple(joint for joint in JOINTS if joint.column)

# (from, to, radius in metres, colour: 0 trunk, 1 right limbs, 2 left limbs, 3 skin)
BONES = (
    ("root", "chest", 0.10, 0),
    ("chest", "neck", 0.11, 0),
    ("neck", "head", 0.10, 3),
    ("neck", "right_shoulder", 0.06, 0),
    ("neck", "left_shoulder", 0.06, 0),
    ("right_hip", "right_knee", 0.07, 1),
    ("right_knee", "right_ankle", 0.055, 1),
    ("right_ankle", "right_toe", 0.045, 1),
    ("left_hip", "left_knee", 0.07, 2),
    ("left_knee", "left_ankle", 0.055, 2),
    ("left_ankle", "left_toe", 0.045, 2),
    ("right_shoulder", "right_elbow", 0.05, 1),
    ("right_elbow", "right_wrist", 0.045, 3),
    ("left_shoulder", "left_elbow", 0.05, 2),
    ("left_elbow", "left_wrist", 0.045, 3),
)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of quaternions (..., 4): first `b`, then `a`."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Turn vectors (..., 3) by unit quaternions (..., 4)."""
    axis = quaternion[..., 1:]
    twice = 2 * np.cross(axis, vector)
    return vector + quaternion[..., :1] * twice + np.cross(axis, twice)


def about_y(angle: float) -> np.ndarray:
    """The quaternion (4,) of a turn about the vertical, in radians."""
    return np.array([np.cos(angle / 2), 0.0, np.sin(angle / 2), 0.0])


def mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Between rotations (F, R, 4): normalised linear mix along the shorter way, `weight` (F,) of `b`."""
    b = np.where((a * b).sum(-1, keepdims=True) < 0, -b, b)
    mixed = a + (b - a) * weight[:, None, None]
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


def joint_positions(root_F3: np.ndarray, rotations_FR4: np.ndarray) -> np.ndarray:
    """Forward kinematics: where every point of the skeleton is, (F, J, 3) in metres."""
    points = np.empty((len(root_F3), len(JOINTS), 3))
    turns: dict[str, np.ndarray] = {}
    for i, joint in enumerate(JOINTS):
        local = rotations_FR4[:, i] if i < len(ROTATING) else None  # the end points come last in JOINTS
        if joint.parent is None:
            points[:, i] = root_F3
            turns[joint.name] = rotations_FR4[:, i]
            continue
        turn = turns[joint.parent]
        points[:, i] = points[:, INDEX[joint.parent]] + rotate(turn, np.array(joint.offset))
        if local is not None:
            turns[joint.name] = multiply(turn, local)
    return points
