"""The ways in which a query's video vector and text vector become one, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from covr.errors import UserError
from covr.models.fusion.combiner import Combiner
from covr.models.fusion.cross_attention import CrossAttentionCombiner
from covr.models.fusion.weighted import slerp, weighted_sum

Kind = Literal["mlp", "text-only", "video-only", "average", "weighted-sum", "slerp", "cross-attention"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionConfig:
    """Options of a fusion; the defaults are TF-CoVR's."""

    kind: Kind = "mlp"
    """`mlp`: the gated combiner. `text-only`: the text's vector. `video-only`: the gated combiner with a learnt
    constant in the text's place. `average`: of the two unit vectors; `weighted-sum` and `slerp` mix them by
    `text_share`. `cross-attention`: the combiner of two attentions."""
    projection_dim: int = 3072
    """Of the combiner (`mlp`, `video-only`)."""
    hidden_dim: int = 6144
    """Of the combiner (`mlp`, `video-only`)."""
    dropout: float = 0.5
    """Of the combiner (`mlp`, `video-only`, `cross-attention`)."""
    text_share: float = 0.5
    """Share of the text (`weighted-sum`, `slerp`)."""
    num_heads: int = 8
    """Attention heads (`cross-attention`)."""

    def __post_init__(self) -> None:
        if not 0 <= self.text_share <= 1:
            raise ValueError(f"text_share {self.text_share} is not between 0 and 1")


class Fusion(nn.Module):
    """Video (B, D) and unit text (B, D) to unit query vectors (B, D); what a kind does not need is not looked at."""

    needs_video = True
    needs_text = True

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__()
        self.config = config

    def text_share(self, video: Tensor, text: Tensor) -> Tensor | None:
        """The weight (B,) of the text against the video, 0 to 1; None for a kind that has no such number."""
        return None


class GatedMLP(Fusion):
    """`mlp`."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__(config, dim)
        self.combiner = Combiner(dim, config.projection_dim, config.hidden_dim, config.dropout)

    def forward(self, video: Tensor, text: Tensor) -> Tensor:
        return self.combiner(video, text)

    def text_share(self, video: Tensor, text: Tensor) -> Tensor:
        return self.combiner.gate(video, text)


class TextOnly(Fusion):
    """`text-only`."""

    needs_video = False

    def forward(self, video: None, text: Tensor) -> Tensor:
        return text


class VideoOnly(Fusion):
    """`video-only`: a model of the same size as the composed one that cannot read."""

    needs_text = False

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__(config, dim)
        self.combiner = Combiner(dim, config.projection_dim, config.hidden_dim, config.dropout)
        self.constant = nn.Parameter(nn.functional.normalize(torch.randn(dim), dim=0))

    def forward(self, video: Tensor, text: None) -> Tensor:
        return self.combiner(video, self.constant.expand_as(video))


class Average(Fusion):
    """`average`."""

    def forward(self, video: Tensor, text: Tensor) -> Tensor:
        return nn.functional.normalize(nn.functional.normalize(video, dim=-1) + text, dim=-1)


class WeightedSum(Fusion):
    """`weighted-sum`."""

    def forward(self, video: Tensor, text: Tensor) -> Tensor:
        return weighted_sum(nn.functional.normalize(video, dim=-1), text, self.config.text_share)

    def text_share(self, video: Tensor, text: Tensor) -> Tensor:
        return text.new_full((len(text),), self.config.text_share)


class Slerp(Fusion):
    """`slerp`."""

    def forward(self, video: Tensor, text: Tensor) -> Tensor:
        return slerp(nn.functional.normalize(video, dim=-1), text, self.config.text_share)

    def text_share(self, video: Tensor, text: Tensor) -> Tensor:
        return text.new_full((len(text),), self.config.text_share)


class CrossAttention(Fusion):
    """`cross-attention`."""

    def __init__(self, config: FusionConfig, dim: int) -> None:
        super().__init__(config, dim)
        self.combiner = CrossAttentionCombiner(dim, config.num_heads, config.dropout)

    def forward(self, video: Tensor, text: Tensor) -> Tensor:
        return self.combiner(video, text)


_KINDS: dict[str, type[Fusion]] = {
    "mlp": GatedMLP,
    "text-only": TextOnly,
    "video-only": VideoOnly,
    "average": Average,
    "weighted-sum": WeightedSum,
    "slerp": Slerp,
    "cross-attention": CrossAttention,
}


def build_fusion(config: FusionConfig, dim: int) -> Fusion:
    """A new fusion of vectors of width `dim`.

    Raises:
        UserError: no fusion of that kind.
    """
    if config.kind not in _KINDS:
        raise UserError(f"no fusion {config.kind!r}", "model.fusion.kind", f"choose one of {', '.join(_KINDS)}")
    return _KINDS[config.kind](config, dim)
