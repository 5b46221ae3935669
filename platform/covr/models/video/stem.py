"""A small convolutional patch embedding for encoders trained from scratch on small frames."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 64)
"""Widths of the 3x3 stride-2 convolutions; a last 2x2 stride-2 convolution goes to the model's width."""


class ConvStem(nn.Module):
    """Frames (N, C, S, S) to tokens (N, (S/16)^2, D), in place of timm's PatchEmbed.

    Four stride-2 convolutions learn in minutes on a CPU what a linear 16x16 patch does not. `norm="group"`
    normalises each frame by itself, so that its vector does not depend on the batch or on the number of
    workers; `"batch"` does.
    """

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        norm: Literal["group", "batch"] = "group",
        **_: object,  # the rest of what timm tells a patch embedding: bias, dynamic_img_pad, device, dtype
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in pairwise((in_chans, *CHANNELS)):
            conv = nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False)
            layers += [conv, _norm(norm, wide), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(CHANNELS[-1], embed_dim, 2, stride=2, bias=False), _norm(norm, embed_dim)]
        self.layers = nn.Sequential(*layers)
        self.num_patches = (img_size // patch_size) ** 2

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        return self.layers(x_NCHW).flatten(2).transpose(1, 2)


def _norm(kind: str, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if kind == "batch" else nn.GroupNorm(width // 8, width)
