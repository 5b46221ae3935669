"""One clip's draw: everything that decides its pixels, taken at random from the clip's own stream."""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from covr.datasets.motions.grammar import Label
from covr.datasets.motions.mocap import RATE, joined_length
from covr.storage.place import fingerprint

GENERATOR = 2
"""Raised when the same draw gives other pixels or the same seed other draws; part of every clip id."""
FPS = 10
SIZE = 64
"""Width and height of the frames in pixels."""

SECONDS = {"back flip": 1.15, "cartwheel": 1.25, "forward roll": 1.15, "spin kick": 1.0, "jump": 1.0}
"""Of one repetition at speed 1: a quick performer's tempo."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lead:
    """What the performer does before or after the element."""

    walks: bool
    """Walks, or else stands in the neighbouring pose."""
    num_frames: int
    """Of motion, at RATE a second; at least the length of a cross-fade."""
    phase: float
    """Where in the walking cycle it starts, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A camera that travels with the performer."""

    azimuth: float
    """Radians from facing the path squarely."""
    elevation: float
    """Radians above the horizontal."""
    span: float
    """Width in metres of what it sees at the performer's distance."""
    focal: float
    """Focal length in widths of the image: the lens."""
    offset: tuple[float, float, float]
    """Metres from the middle of the performer's path to the middle of the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """Colours and scenery."""

    wall: Colour
    floor: Colour
    apparatus: Colour
    trunk: Colour
    right: Colour
    left: Colour
    skin: Colour
    beam_height: float
    scenery_yaw: float
    scenery_offset: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One clip of a label, as drawn; two clips with the same draw have the same bytes."""

    label: Label
    repetitions: tuple[int, ...]
    """Frames of motion of each repetition."""
    lead_in: Lead
    lead_out: Lead
    camera: Camera
    looks: Looks

    @property
    def clip_id(self) -> str:
        """A hash of the draw; it says nothing of the label, so that no order of ids helps a ranking."""
        return f"m{fingerprint(GENERATOR, asdict(self))[:15]}"

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        motion = joined_length([self.lead_in.num_frames, *self.repetitions, self.lead_out.num_frames])
        return 1 + (motion - 1) // (RATE // FPS)


def draw(label: Label, split: str, number: int, seed: int) -> Clip:
    """The clip `number` of a label in a split; each has its own stream, so a larger size only adds clips."""
    stream = hashlib.sha256(f"{seed}/{split}/{label}/{number}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(stream[:16]))
    repetitions = _repetitions(label, rng)
    lead_in, lead_out = _leads(sum(repetitions), rng)
    return Clip(
        label=label,
        repetitions=repetitions,
        lead_in=lead_in,
        lead_out=lead_out,
        camera=Camera(
            azimuth=np.radians(rng.uniform(-60, 60)).item(),
            elevation=np.radians(rng.uniform(5, 20)).item(),
            span=rng.uniform(2.05, 2.5),
            focal=rng.uniform(1.2, 2.2),
            offset=(rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15), rng.uniform(-0.2, 0.2)),
        ),
        looks=_looks(rng),
    )


def _repetitions(label: Label, rng: np.random.Generator) -> tuple[int, ...]:
    speed = rng.uniform(0.85, 1.2)
    seconds = SECONDS[label.element] / speed / rng.uniform(0.93, 1.07, label.count)
    return tuple(round(s * RATE) for s in seconds)


def _leads(action: int, rng: np.random.Generator) -> tuple[Lead, Lead]:
    """What comes before and after `action` frames of motion.

    The length of the whole clip is drawn first and filled with leads, so that it says little of the count.
    """
    leads = max(rng.uniform(3.5, 5.0) * RATE - action, rng.uniform(0.6, 1.2) * RATE)
    before = leads * rng.uniform(0.2, 0.8)

    def lead(frames: float) -> Lead:
        return Lead(walks=bool(rng.random() < 0.5), num_frames=max(15, round(frames)), phase=rng.random())

    return lead(before), lead(leads - before)


def _looks(rng: np.random.Generator) -> Looks:
    """Light scenery, dark saturated figure: it stays clear when small, and its colours say nothing."""
    right = _colour(rng, (0.5, 1.0), (0.15, 0.6))
    left = right if rng.random() < 0.5 else _colour(rng, (0.5, 1.0), (0.15, 0.6))
    skin = np.minimum(np.array([242, 199, 158]) * rng.uniform(0.5, 1.05), 255).astype(int)
    return Looks(
        wall=_colour(rng, (0.03, 0.3), (0.75, 1.0)),
        floor=_colour(rng, (0.03, 0.3), (0.65, 0.9)),
        apparatus=_colour(rng, (0.3, 0.8), (0.4, 0.7)),
        trunk=_colour(rng, (0.5, 1.0), (0.15, 0.6)),
        right=right,
        left=left,
        skin=(int(skin[0]), int(skin[1]), int(skin[2])),
        beam_height=rng.uniform(0.55, 0.75),
        scenery_yaw=rng.uniform(-0.3, 0.3),
        scenery_offset=(rng.uniform(0, 3), rng.uniform(0, 3)),
    )


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return round(r * 255), round(g * 255), round(b * 255)
