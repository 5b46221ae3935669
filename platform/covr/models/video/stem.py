"""A small convolutional patch embedding for encoders trained from scratch on small frames."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 64)
"""Widths of the 3x3 stride-2 convolutions; a last 2x2 stride-2 convolution goes to the model's width."""


class ClipNorm(nn.Module):
    """Each channel normalised over all positions of all frames of its clip.

    Over the clip and not the frame, so that frames stay comparable with each other; over the clip and not the
    batch, so that a clip's vector does not depend on its neighbours or on the number of workers.
    """

    def __init__(self, width: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.norm = nn.GroupNorm(width, width)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_BCTHW = x_NCHW.unflatten(0, (-1, self.num_frames)).transpose(1, 2)
        return self.norm(x_BCTHW.contiguous()).transpose(1, 2).flatten(0, 1)


class ConvStem(nn.Module):
    """Frames (B*T, C, S, S) to tokens (B*T, (S/16)^2, D), in place of timm's PatchEmbed.

    Four stride-2 convolutions learn in minutes on a CPU what a linear 16x16 patch does not.
    """

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        num_frames: int,
        **_: object,  # the rest of what timm tells a patch embedding: bias, dynamic_img_pad, device, dtype
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in pairwise((in_chans, *CHANNELS)):
            conv = nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False)
            layers += [conv, ClipNorm(wide, num_frames), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(CHANNELS[-1], embed_dim, 2, stride=2, bias=False), ClipNorm(embed_dim, num_frames)]
        self.layers = nn.Sequential(*layers)
        self.num_patches = (img_size // patch_size) ** 2

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        return self.layers(x_NCHW).flatten(2).transpose(1, 2)
