"""A frame encoder: AIM's network on each frame alone, so that a clip's frames never see each other.

What the published rows of CLIP and BLIP-2 with an MLP read: pictures, averaged over a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from covr.models.video.aim import AIM, AIMConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class FramesConfig(AIMConfig):
    """Options of `FrameEncoder`: those of `AIM`, whose weights it takes."""

    alone: bool = True
    """Always true; what a folder is told by."""


class FrameEncoder(AIM):
    """Float pixels (B, T, 3, H, W) to raw frame vectors (B, T, D), each of its own frame; `pool` takes their mean.

    Attention over time looks at the one frame, the difference to the frame before is zero, and the temporal embedding,
    which would say where in the clip a frame lies, is left out.
    """

    def __init__(self, config: FramesConfig) -> None:
        super().__init__(config)
        for module in self.vit.patch_embed.modules():
            if hasattr(module, "num_frames"):
                module.num_frames = 1  # a frame is normalised by itself

    def forward(self, pixels_BTCHW: Tensor) -> Tensor:
        B = len(pixels_BTCHW)
        frames_FTCHW = pixels_BTCHW.flatten(0, 1)[:, None]
        if self.config.frame_difference:
            frames_FTCHW = torch.cat([frames_FTCHW, torch.zeros_like(frames_FTCHW)], dim=2)
        x_FND = self.vit.patch_embed(frames_FTCHW.flatten(0, 1))
        x_FND = torch.cat([self._class_token.expand(len(x_FND), -1, -1), x_FND], dim=1) + self._positions
        x_FTND = self.vit.norm(self.vit.blocks(self.vit.norm_pre(x_FND[:, None])))
        frames_FD = x_FTND[:, 0, 0] if self.config.pooling == "class" else x_FTND[:, 0].mean(dim=1)
        return frames_FD.unflatten(0, (B, -1))
