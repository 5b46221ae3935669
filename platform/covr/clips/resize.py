"""From frames of any size to the square that an encoder reads.

Apart from the encoders, and by torch alone: a process that only decodes need not spend seconds on importing either
them or torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Resize:
    """Short side to `size`, centre square; uint8 to uint8, so that a cache may hold the result.

    An integer factor is an exact average of blocks, others an antialiased bilinear filter.
    """

    size: int

    def __call__(self, frames_BTCHW: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to uint8 (B, T, 3, size, size)."""
        height, width = frames_BTCHW.shape[-2:]
        short = min(height, width)
        factor = short // self.size
        if factor and height % factor == 0 and width % factor == 0 and short == self.size * factor:
            if factor > 1:
                blocks = frames_BTCHW.unflatten(-1, (-1, factor)).unflatten(-3, (-1, factor))
                half = factor * factor // 2
                frames_BTCHW = ((blocks.sum(dim=(-3, -1), dtype=torch.int32) + half) // factor**2).to(torch.uint8)
        else:
            shape = [max(self.size, round(side * self.size / short)) for side in (height, width)]
            images = frames_BTCHW.flatten(0, 1)
            images = images.float() if images.is_cuda else images  # only CPUs filter bytes
            images = functional.interpolate(images, shape, mode="bilinear", antialias=True)
            frames_BTCHW = images.round().to(torch.uint8).unflatten(0, frames_BTCHW.shape[:2])
        top, left = (round((side - self.size) / 2) for side in frames_BTCHW.shape[-2:])
        return frames_BTCHW[..., top : top + self.size, left : left + self.size]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The whole picture to a square of `size`, bicubic and antialiased, as BLIP and CLIP rows of CoVR read frames."""

    size: int

    def __call__(self, frames_BTCHW: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to uint8 (B, T, 3, size, size)."""
        if frames_BTCHW.shape[-2:] == (self.size, self.size):
            return frames_BTCHW
        images = frames_BTCHW.flatten(0, 1)
        images = images.float() if images.is_cuda else images  # only CPUs filter bytes
        images = functional.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
        return images.round().clamp(0, 255).to(torch.uint8).unflatten(0, frames_BTCHW.shape[:2])
