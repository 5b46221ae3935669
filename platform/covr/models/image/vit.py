"""The image encoders of BLIP and BLIP-2, as timm's transformers: pictures (B, 3, H, W) to tokens (B, N, D)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Of the channels R, G, B, on the 0-1 scale; CLIP, BLIP and BLIP-2 share them."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """Sizes of a vision transformer; the defaults are BLIP's ViT-L/16 at 384 pixels."""

    image_size: int = 384
    """Side of the square pictures, in pixels."""
    patch_size: int = 16
    """Side of a patch, in pixels."""
    dim: int = 1024
    """D, the width."""
    depth: int = 24
    """Blocks."""
    num_heads: int = 16
    """Attention heads."""
    ffn_dim: int = 4096
    """Width of the MLP's hidden layer."""
    drop_path: float = 0.1
    """Stochastic depth of the last block, rising linearly from 0; active in training mode only."""


EVA_GIANT = ImageConfig(image_size=364, patch_size=14, dim=1408, depth=39, num_heads=16, ffn_dim=6144, drop_path=0.0)
"""EVA ViT-g as BLIP-2 and CoVR-2 use it: 677 tokens of 1408."""


def blip_vit(config: ImageConfig) -> VisionTransformer:
    """BLIP's encoder: pre-norm blocks, exact GELU, last norm over all tokens, class token first."""
    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=0,
        global_pool="",
        embed_dim=config.dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.ffn_dim / config.dim,
        drop_path_rate=config.drop_path,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )


def eva_vit(config: ImageConfig) -> Eva:
    """BLIP-2's encoder: EVA without a last norm (BLIP-2 puts its own after it), no bias on the keys."""
    return Eva(
        img_size=config.image_size,
        patch_size=config.patch_size,
        num_classes=0,
        global_pool="",
        embed_dim=config.dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.ffn_dim / config.dim,
        drop_path_rate=config.drop_path,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_post_transformer_norm=False,
        use_fc_norm=False,
    )


def resize_positions(pos_1ND: Tensor, num_tokens: int) -> Tensor:
    """Position embeddings for another number of patches: bicubic, the class token's kept (BLIP, without antialias)."""
    if pos_1ND.shape[1] == num_tokens:
        return pos_1ND
    old, new = (round((n - 1) ** 0.5) for n in (pos_1ND.shape[1], num_tokens))
    grid = pos_1ND[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([pos_1ND[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
