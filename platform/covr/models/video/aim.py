"""AIM: a CLIP vision transformer adapted to video by small adapters.

Yang et al., "AIM: Adapting Image Models for Efficient Video Action Recognition", ICLR 2023. Each block's one
self-attention is used twice, over time and over space, each time followed by an adapter; a third adapter runs
beside the MLP. At initialisation the published form computes CLIP frame by frame.

Shapes: B clips, T frames, N tokens a frame (class token first), D width, C x H x W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from timm.layers import LayerNorm, PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from covr.errors import UserError
from covr.models.video.encoder import VideoEncoder
from covr.models.video.stem import ConvStem


@dataclass(frozen=True, kw_only=True, slots=True)
class AIMConfig:
    """Options of `AIM`; the defaults are the published ViT-B/16 of CLIP with 12 frames."""

    image_size: int = 224
    """Side of the square frames that the network reads, in pixels."""
    patch_size: int = 16
    """Side of a patch, in pixels."""
    num_frames: int = 12
    """T, fixed by the temporal embedding."""
    dim: int = 768
    """D, the width."""
    depth: int = 12
    """Blocks."""
    num_heads: int = 12
    """Attention heads."""
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    """Of the MLP; CLIP's is quick GELU."""
    adapter_ratio: float = 0.25
    """Width of an adapter's hidden layer, as a share of D."""
    adapter_scale: float = 0.5
    """Factor of the adapter beside the MLP (published: 1.0 for Something-Something v2)."""
    num_temporal_adapters: Literal[1, 2] = 1
    """2: one more before the attention over time (published for Something-Something v2)."""
    drop_path: float = 0.2
    """Stochastic depth of the last block; rates rise linearly from 0."""
    drop_path_unit: Literal["clip", "token"] = "clip"
    """What one draw drops: a clip (corrected), or a spatial token of the whole batch (published slip)."""
    stem: Literal["patch", "conv"] = "patch"
    """Linear patches, or four strided convolutions."""
    frame_difference: bool = False
    """Add the difference to the previous frame as three more input channels."""
    init: Literal["published", "xavier"] = "published"
    """`published`: truncated normal .02, adapters and temporal embedding of no effect; `xavier`: for training all
    weights from scratch at small width, with an effective temporal adapter and temporal embedding."""
    pooling: Literal["class", "mean"] = "class"
    """A frame's vector: its class token, or the mean of its tokens."""
    sampling: Literal["uniform", "dense"] = "uniform"
    """Which frames of a clip are read."""
    frame_interval: int = 1
    """Frames from one to the next, of dense sampling only (published for Kinetics: 16)."""
    mean: tuple[float, float, float] = (122.769, 116.74, 104.04)
    """Of the channels R, G, B, on the 0-255 scale."""
    std: tuple[float, float, float] = (68.493, 66.63, 70.321)
    """Of the channels R, G, B, on the 0-255 scale."""
    weights: str | None = None
    """CLIP's image weights to start from (`model.init=pretrained`): a safetensors file, a folder or a hub id."""

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        if self.stem == "conv" and self.patch_size != 16:
            raise ValueError(f"the convolutional stem reads patches of 16 pixels, not {self.patch_size}")
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")


class Adapter(nn.Module):
    """A bottleneck: linear, exact GELU, linear. The callers add the input where the published block does."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        hidden = int(dim * ratio)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class AIMBlock(Block):
    """timm's transformer block with attention over time, attention over space and an adapter at each step."""

    def __init__(self, dim: int, num_heads: int, *, config: AIMConfig, **options: Any) -> None:
        super().__init__(dim, num_heads, **options)
        self.adapter_scale = config.adapter_scale
        self.drop_tokens = config.drop_path_unit == "token"
        adapter = partial(Adapter, dim, config.adapter_ratio)
        self.temporal_adapter_in = adapter() if config.num_temporal_adapters == 2 else None
        self.temporal_adapter = adapter()
        self.spatial_adapter = adapter()
        self.mlp_adapter = adapter()

    def forward(self, x_BTND: Tensor) -> Tensor:  # type: ignore[override]  # AIM masks nothing
        B, T, N, D = x_BTND.shape
        y = self.norm1(x_BTND).transpose(1, 2).reshape(B * N, T, D)
        if self.temporal_adapter_in is not None:
            y = y + self.temporal_adapter_in(y)
        y = self.temporal_adapter(self.attn(y)).view(B, N, T, D).transpose(1, 2)
        x_BTND = x_BTND + self._drop(self.drop_path1, y)

        y = self.attn(self.norm1(x_BTND).view(B * T, N, D))
        x_BTND = x_BTND + (y + self.spatial_adapter(y)).view(B, T, N, D)

        y = self.norm2(x_BTND)
        return x_BTND + self.mlp(y) + self._drop(self.drop_path2, self.adapter_scale * self.mlp_adapter(y))

    def _drop(self, drop_path: nn.Module, y_BTND: Tensor) -> Tensor:
        """Stochastic depth: timm draws once per index of the first axis."""
        if self.drop_tokens:
            return drop_path(y_BTND.transpose(0, 2)).transpose(0, 2)
        return drop_path(y_BTND)


class AIM(VideoEncoder):
    """Float pixels (B, T, 3, H, W) to raw frame vectors (B, T, D); `pool` takes their mean.

    Args:
        config: the architecture; weights are random until they are loaded.
    """

    config: AIMConfig

    def __init__(self, config: AIMConfig) -> None:
        super().__init__(config)
        self.vit = VisionTransformer(
            img_size=config.image_size,
            patch_size=config.patch_size,
            in_chans=6 if config.frame_difference else 3,
            num_classes=0,
            embed_dim=config.dim,
            depth=config.depth,
            num_heads=config.num_heads,
            pre_norm=True,
            weight_init="skip",
            drop_path_rate=config.drop_path,
            embed_layer=partial(ConvStem, num_frames=config.num_frames) if config.stem == "conv" else PatchEmbed,
            norm_layer=partial(LayerNorm, eps=1e-5),
            act_layer=config.activation,
            block_fn=partial(AIMBlock, config=config),  # type: ignore[arg-type]  # a factory will do
        )
        self.temporal_embedding = nn.Parameter(torch.empty(1, config.num_frames, 1, config.dim))
        self._initialise()

    def forward(self, pixels_BTCHW: Tensor) -> Tensor:
        B, T = pixels_BTCHW.shape[:2]
        if self.num_frames != T:
            raise UserError(f"clips of {T} frames", "video encoder", f"sample {self.num_frames}, or train for {T}")
        if self.config.frame_difference:
            difference = torch.diff(pixels_BTCHW, dim=1, prepend=pixels_BTCHW[:, :1])
            pixels_BTCHW = torch.cat([pixels_BTCHW, difference], dim=2)
        x_FND = self.vit.patch_embed(pixels_BTCHW.flatten(0, 1))
        x_FND = torch.cat([self._class_token.expand(B * T, -1, -1), x_FND], dim=1) + self._positions
        x_BTND = self.vit.norm_pre(x_FND.unflatten(0, (B, T)) + self.temporal_embedding)
        x_BTND = self.vit.norm(self.vit.blocks(x_BTND))
        return x_BTND[:, :, 0] if self.config.pooling == "class" else x_BTND.mean(dim=2)

    def freeze(self) -> None:
        """Leave trainable what AIM trains: temporal embedding, adapters and the last norm."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("adapter" in name or name.startswith(("temporal_embedding", "vit.norm.")))

    @property
    def _class_token(self) -> Tensor:
        return cast(Tensor, self.vit.cls_token)  # optional in timm, always there with token pooling

    @property
    def _positions(self) -> Tensor:
        return cast(Tensor, self.vit.pos_embed)

    @torch.no_grad()
    def _initialise(self) -> None:
        xavier = self.config.init == "xavier"
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if xavier:
                    nn.init.xavier_uniform_(module.weight)
                else:
                    nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for name, module in self.named_modules():
            if isinstance(module, Adapter) and not (xavier and name.endswith("temporal_adapter")):
                nn.init.zeros_(module.fc2.weight)
        std = 0.2 if xavier else self.config.dim**-0.5
        nn.init.normal_(self._positions, std=std)
        nn.init.normal_(self._class_token, std=std)
        nn.init.zeros_(self.temporal_embedding)
        if xavier:
            self.temporal_embedding.add_(0.3 * _sin_cos(self.config.num_frames, self.config.dim))


def _sin_cos(num_positions: int, dim: int) -> Tensor:
    """Sine and cosine position codes (1, num_positions, 1, dim), of values in [-1, 1]."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(num_positions)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None, :, None, :dim]
