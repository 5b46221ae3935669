"""Fusions without parameters between two unit vectors, (B, D) each: a weighted sum and a point on the sphere."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_sum(video_BD: Tensor, text_BD: Tensor, text_share: float) -> Tensor:
    """(1 - share) video + share text, of unit length; share 0.5 is the average of the published tables."""
    return torch.nn.functional.normalize((1 - text_share) * video_BD + text_share * text_BD, dim=-1)


def slerp(video_BD: Tensor, text_BD: Tensor, text_share: float) -> Tensor:
    """The point at `text_share` of the arc from video to text (spherical linear interpolation), of unit length.

    Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985. Nearly parallel vectors are mixed by their
    weighted sum, to which the formula tends.
    """
    cosine_B1 = (video_BD * text_BD).sum(dim=-1, keepdim=True).clamp(-1, 1)
    sine_B1 = (1 - cosine_B1.square()).clamp(min=0).sqrt()
    near = sine_B1 < 1e-4
    angle_B1 = torch.atan2(sine_B1, cosine_B1)
    safe_B1 = torch.where(near, torch.ones_like(sine_B1), sine_B1)  # keeps gradients finite in the branch not taken
    video_B1 = torch.where(
        near, torch.full_like(sine_B1, 1 - text_share), ((1 - text_share) * angle_B1).sin() / safe_B1
    )
    text_B1 = torch.where(near, torch.full_like(sine_B1, text_share), (text_share * angle_B1).sin() / safe_B1)
    return torch.nn.functional.normalize(video_B1 * video_BD + text_B1 * text_BD, dim=-1)
