"""CLIP's two kinds of image tower on timm: pictures (B, 3, H, W) to vectors (B, P) of the shared space.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from timm.layers import AttentionPool2d
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipViTConfig:
    """Sizes of `ClipViT`; the defaults are ViT-B/16."""

    image_size: int = 224
    """Side of the square pictures, in pixels."""
    patch_size: int = 16
    """Side of a patch, in pixels."""
    dim: int = 768
    """Width."""
    depth: int = 12
    """Blocks."""
    num_heads: int = 12
    """Attention heads."""
    projection_dim: int = 512
    """P."""


class ClipViT(nn.Module):
    """A vision transformer with quick GELU; the class token after the last norm is projected."""

    def __init__(self, config: ClipViTConfig) -> None:
        super().__init__()
        self.trunk = VisionTransformer(
            img_size=config.image_size,
            patch_size=config.patch_size,
            num_classes=0,
            global_pool="token",
            embed_dim=config.dim,
            depth=config.depth,
            num_heads=config.num_heads,
            pre_norm=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            act_layer="quick_gelu",
        )
        self.proj = nn.Parameter(torch.empty(config.dim, config.projection_dim))
        nn.init.normal_(self.proj, std=config.dim**-0.5)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        return self.trunk(pixels_BCHW) @ self.proj


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipResNetConfig:
    """Sizes of the ResNet tower; the defaults are RN50, which TF-CoVR's CLIP rows use."""

    image_size: int = 224
    """Side of the square pictures, in pixels; a multiple of 32."""
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Bottlenecks of each stage."""
    width: int = 64
    """Channels of the stem; the last stage has 32 times as many."""
    num_heads: int | None = None
    """Heads of the attention pooling; null: of 64 channels each, as published."""
    projection_dim: int = 1024
    """P."""


def clip_resnet(config: ClipResNetConfig) -> ByobNet:
    """CLIP's ResNet: three-convolution stem, antialiased strides, attention pooling."""
    blocks = tuple(
        ByoBlockCfg(type="bottle", d=depth, c=config.width * 4 * 2**stage, s=1 if stage == 0 else 2, br=0.25)
        for stage, depth in enumerate(config.layers)
    )
    sizes = ByoModelCfg(
        blocks=blocks,
        stem_chs=(config.width // 2, config.width // 2, config.width),
        stem_type="",
        stem_pool="avg2",
        downsample="avg",
        aa_layer="avg",
    )
    tower = ByobNet(sizes, num_classes=0, img_size=config.image_size)
    tower.head = AttentionPool2d(  # type: ignore[assignment]
        32 * config.width,
        feat_size=config.image_size // 32,
        out_features=config.projection_dim,
        num_heads=config.num_heads,
        qkv_separate=True,
    )
    return tower
