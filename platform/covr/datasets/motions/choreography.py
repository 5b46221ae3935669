"""A clip's draw as moving joints: lead-in, repetitions of the element, lead-out, to the label's side."""

from __future__ import annotations

import numpy as np

from covr.datasets.motions.clip import FPS, Clip, Lead
from covr.datasets.motions.mocap import RATE, Motion, held, joined, load, repeated
from covr.datasets.motions.skeleton import joint_positions

RECORDINGS = {
    "back flip": "backflip",
    "cartwheel": "cartwheel",
    "forward roll": "roll",
    "spin kick": "spinkick",
    "jump": "jump",
}


def perform(clip: Clip) -> np.ndarray:
    """Where every point of the skeleton is in each frame of the video, (F, J, 3) metres, y up, at FPS.

    Every element travels along +x as recorded; to the left is its mirror image. What is mirrored is the whole
    path, so that no posture belongs to one side: only the order in time tells them apart.
    """
    element = load(RECORDINGS[clip.label.element])
    repetitions = [element.stretched(frames) for frames in clip.repetitions]
    parts = [_lead(clip.lead_in, element, 0), *repetitions, _lead(clip.lead_out, element, -1)]
    motion = joined(parts).take(slice(None, None, RATE // FPS))
    points = joint_positions(motion.root_F3, motion.rotations_FR4)
    if clip.label.side == "left":
        points = points * np.array([-1.0, 1.0, 1.0])
    return points


def _lead(lead: Lead, element: Motion, pose: int) -> Motion:
    if not lead.walks:
        return held(element, pose, lead.num_frames)
    walk = load("walk")
    return repeated(walk, int(lead.phase * len(walk)), lead.num_frames)
