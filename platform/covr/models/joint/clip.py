"""CLIP as a retriever without training: frames averaged, then fused with the text's vector.

Shapes: B queries or targets, T frames, L text tokens, P width of the shared space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from covr.clips import Sampling
from covr.models.fusion.combiner import Combiner
from covr.models.fusion.weighted import slerp, weighted_sum
from covr.models.image.clip import ClipResNetConfig, ClipViT, ClipViTConfig, clip_resnet
from covr.models.joint.base import JointRetriever, Text
from covr.models.joint.pooling import mean_frames
from covr.models.sides import Needs
from covr.models.text.cleaning import Cleaning
from covr.models.text.clip import ClipText, ClipTextConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """Options of `ClipRetriever`; the defaults are OpenAI's ViT-B/16."""

    image: ClipViTConfig | ClipResNetConfig = field(default_factory=ClipViTConfig)
    text: ClipTextConfig = field(default_factory=ClipTextConfig)
    query: Literal["sum", "slerp", "text", "visual", "mlp"] = "sum"
    """How picture and text become one: their unit vectors' weighted sum, the point between them on the sphere, the
    text alone, the picture alone, or their raw vectors in a gated combiner, the one part that is then trained."""
    query_frames: int = 15
    """Frames of the query clip, averaged; 1: the middle one (published rows: 1 or 15)."""
    text_share: float = 0.5
    """Share of the text in `sum` and `slerp`; 0.5 of `sum` is the published average."""
    combiner: tuple[int, int] = (2560, 5120)
    """Widths of the combiner's projections and hidden layers, for `mlp`."""
    target_colours: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels in which target frames are read; `bgr` is what the published embeddings were made with."""
    tokenizer: str | None = None
    """Folder or hub id of a tokenizer; null: CLIP's packaged byte pairs."""


class ClipRetriever(JointRetriever):
    """Both towers of CLIP: the layout `openai-clip`."""

    config: ClipConfig
    query_parts = ("visual",)
    target_parts = ("visual",)
    target_options = ("image", "target_colours")

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config, image_size=config.image.image_size, dim=config.image.projection_dim)
        image = config.image
        self.visual = clip_resnet(image) if isinstance(image, ClipResNetConfig) else ClipViT(image)
        self.text = ClipText(config.text)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.combiner = Combiner(self.dim, *config.combiner) if config.query == "mlp" else None
        self.requires_grad_(False)
        if self.combiner is not None:
            self.combiner.requires_grad_(True)

    @property
    def reads_byte_pairs(self) -> bool:
        return True

    @property
    def vocab_size(self) -> int:
        return self.config.text.vocab_size

    @property
    def needs(self) -> Needs:
        query = self.config.query
        return Needs(
            query_feature=None if query == "text" else "frames",
            query_text=query != "visual",
            target_feature="frames",
        )

    @property
    def query_sampling(self) -> Sampling:
        """The middle frame, or the middles of `query_frames` segments."""
        if self.config.query_frames == 1:
            return super().query_sampling
        return Sampling(kind="covr", num_frames=self.config.query_frames)

    def query_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Raw frame vectors (B, T, P)."""
        return self.target_features(pixels_BTCHW)

    def target_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Raw frame vectors (B, T, P)."""
        return self.encode_image(pixels_BTCHW.flatten(0, 1)).unflatten(0, pixels_BTCHW.shape[:2])

    def encode_image(self, pixels_BCHW: Tensor) -> Tensor:
        """Raw vectors (B, P) of normalised pictures."""
        return self.visual(pixels_BCHW)

    def encode_text(self, text: Text) -> Tensor:
        """Raw vectors (B, P) of texts."""
        return self.text.read(self.tokenise(text, *self.text_limit)[0])

    @property
    def text_limit(self) -> tuple[int, Cleaning]:
        """The whole table of positions, of texts as they are."""
        return self.config.text.max_positions, "none"

    def text_target(self, text: Text) -> Tensor:
        """Captions (B, P), of unit length."""
        return torch.nn.functional.normalize(self.encode_text(text), dim=-1)

    def encode_video(self, frames: Tensor) -> Tensor:
        """Raw vectors (B, P): the mean over frames of pixels (B, T, 3, H, W) or of frame vectors (B, T, P)."""
        if frames.ndim == 5:
            frames = self.target_features(frames)
        return mean_frames(frames) if frames.ndim == 3 else frames

    def forward_query(self, frames: Tensor, text: Text, description: Text | None = None) -> Tensor:
        """Queries (B, P), of unit length, from pixels (B, T, 3, H, W), frame vectors (B, T, P) or pooled (B, P)."""
        unit = torch.nn.functional.normalize
        if self.config.query == "text":
            return unit(self.encode_text(text), dim=-1)
        if self.combiner is not None:
            return self.combiner(self.encode_video(frames), self.encode_text(text))
        video_BP = unit(self.encode_video(frames), dim=-1)
        if self.config.query == "visual":
            return video_BP
        mix = slerp if self.config.query == "slerp" else weighted_sum
        return mix(video_BP, unit(self.encode_text(text), dim=-1), self.config.text_share)

    def forward_target(self, frames: Tensor, scores: Tensor | None = None) -> Tensor:
        """Targets (B, P), of unit length, from pixels (B, T, 3, H, W), frame vectors (B, T, P) or pooled (B, P)."""
        return torch.nn.functional.normalize(self.encode_video(frames), dim=-1)
