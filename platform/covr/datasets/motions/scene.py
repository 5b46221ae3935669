"""The scene: a camera that travels with the performer, the ground by its pattern, the beam.

Shapes: S x S pixels of the canvas, N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covr.datasets.motions.clip import Camera, Looks

NEAR = 0.4
"""Nothing nearer than this to the camera is drawn, in metres."""
BEAM_WIDTH, BEAM_DEPTH, POST_SPACING, POST_WIDTH = 0.24, 0.16, 1.6, 0.12
WALL, PLAIN, DARK, WATER, FOAM = np.arange(5, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Projection:
    """A pinhole camera that looks at a centre; the centre travels, its direction is fixed within a clip."""

    axes_33: np.ndarray
    focal_px: float
    distance: float
    canvas: int

    @classmethod
    def of(cls, camera: Camera, canvas: int) -> Projection:
        ca, sa, ce, se = (f(a) for a in (camera.azimuth, camera.elevation) for f in (np.cos, np.sin))
        about_y = np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
        about_x = np.array([[1, 0, 0], [0, ce, -se], [0, se, ce]])
        return cls(about_x @ about_y, camera.focal * canvas, camera.span * camera.focal, canvas)

    def project(self, offset_N3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points given from the centre -> pixels (..., 2) and depths (...)."""
        seen = offset_N3 @ self.axes_33.T
        depth = self.distance - seen[..., 2]
        scale = self.focal_px / np.maximum(depth, NEAR)
        flipped = seen[..., :2] * np.array([1.0, -1.0])
        return self.canvas / 2 + flipped * scale[..., None], depth

    def ground(self, height: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the ground, `height` metres below the centre, is seen, and which point of it.

        Returns:
            (S, S) bool: False where the wall is seen instead; (2, N) float32: x and z from the centre, a column for
            each pixel that is True.
        """
        pixel = (np.arange(self.canvas) + 0.5 - self.canvas / 2) / self.focal_px
        rays = np.stack([*np.meshgrid(pixel, -pixel), np.full((self.canvas, self.canvas), -1.0)], -1) @ self.axes_33
        eye = np.array([0, 0, self.distance]) @ self.axes_33
        falling = rays[..., 1] < -1e-3
        reach = (-height - eye[1]) / np.where(falling, rays[..., 1], -1.0)
        wall_distance = 2.5 * self.distance
        seen = falling & (reach < wall_distance)
        return seen, (eye + rays[seen] * reach[seen, None])[:, [0, 2]].T.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the ground looks like at a point: a checker, a plain floor with seams, or a deck in water."""

    event: str
    looks: Looks

    def pattern(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Palette indices (uint8) at ground points in metres."""
        c, s = float(np.cos(self.looks.scenery_yaw)), float(np.sin(self.looks.scenery_yaw))
        along, across = self.looks.scenery_offset
        u, v = c * x + s * z + along, c * z - s * x
        if self.event == "floor":
            dark = (np.floor(u) + np.floor(v + across)).astype(np.int32) % 2 == 0
            return np.where(dark, DARK, PLAIN)
        if self.event == "beam":
            return np.where(_past(u + 0.12, 2.0) < 0.12, DARK, PLAIN)
        row = np.floor(v / 0.35)
        foam = (_past(u + 0.37 * row * row, 1.1) < 0.5) & (_past(v, 0.35) < 0.14)
        deck = np.where(_past(u, 1.0) < 0.06, DARK, PLAIN)
        return np.where(np.abs(v) < 0.75, deck, np.where(foam, FOAM, WATER))

    def palette(self) -> np.ndarray:
        """(5, 3) uint8: wall, plain, dark, water, foam."""
        floor, water = np.array(self.looks.floor), np.array([90, 160, 225])
        tint = (np.array(self.looks.wall) - 220) // 3
        colours = [np.array(self.looks.wall), floor, floor * 0.72, water + tint, water * 0.3 + 178]
        return np.clip(colours, 0, 255).astype(np.uint8)


def _past(x: np.ndarray, period: float) -> np.ndarray:
    """How far `x` is past the last multiple of `period`; several times as fast as the operator %."""
    return x - np.floor(x / period) * period


def beam_boxes(projection: Projection, centre_3: np.ndarray, looks: Looks) -> list[tuple[np.ndarray, float]]:
    """The beam under the performer's path as quads (4, 2) in pixels with a shade, in drawing order."""
    reach = (projection.distance - 2 * NEAR) / max(abs(projection.axes_33[2, 0]), 0.25)
    left, right = centre_3[0] - min(reach, 6.0), centre_3[0] + min(reach, 6.0)
    top, front = looks.beam_height, BEAM_WIDTH / 2
    first = np.ceil((left - looks.scenery_offset[0]) / POST_SPACING)
    posts = np.arange(first, (right - looks.scenery_offset[0]) / POST_SPACING) * POST_SPACING
    quads = [
        (_upright(x - POST_WIDTH / 2, x + POST_WIDTH / 2, 0.0, top, 0.0), 0.6) for x in posts + looks.scenery_offset[0]
    ]
    quads.append((_upright(left, right, top - BEAM_DEPTH, top, front), 0.8))
    lid = np.array([[left, top, front], [right, top, front], [right, top, -front], [left, top, -front]])
    quads.append((lid, 1.15))
    return [(projection.project(quad - centre_3)[0], shade) for quad, shade in quads]


def _upright(left: float, right: float, bottom: float, top: float, z: float) -> np.ndarray:
    return np.array([[left, bottom, z], [right, bottom, z], [right, top, z], [left, top, z]])
