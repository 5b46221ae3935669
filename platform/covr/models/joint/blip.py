"""CoVR on BLIP: the modification, read with cross-attention to the query picture, against the target's frames.

Ventura et al., "CoVR: Learning Composed Video Retrieval from Web Video Captions", AAAI 2024.

Shapes: B queries or targets, T frames, N image tokens, E image width, P width of the shared space.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from covr.errors import UserError
from covr.models.fusion.combiner import Combiner
from covr.models.image.vit import ImageConfig, blip_vit
from covr.models.joint.base import JointRetriever, Text, middle
from covr.models.joint.pooling import Pooling, mean_frames, pool_frames
from covr.models.sides import Feature, Needs
from covr.models.text.med import MED, MEDConfig
from covr.models.video.aim import AIM, AIMConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class BlipConfig:
    """Options of `BlipRetriever`; the defaults are BLIP-Large as CoVR uses it."""

    image: ImageConfig | AIMConfig = field(default_factory=ImageConfig)
    """The image encoder, or a stage-1 video encoder in its place (see `JointRetriever.on_video`)."""
    text: MEDConfig = field(default_factory=MEDConfig)
    projection_dim: int = 256
    """P, the width of the shared space."""
    query: Literal["multimodal", "text", "visual", "late-fusion"] = "multimodal"
    """What the query is made of: both inputs read together, the text alone, the picture alone, or the vectors of the
    two in a gated combiner."""
    late_dim: int = 2048
    """Width of that combiner's hidden layers, for `late-fusion` (not published)."""
    max_tokens: int = 64
    """Longest modification, in tokens (published: 35 in training, 64 in testing)."""
    target_pooling: Pooling = "scores"
    """How a target's frame vectors become one."""
    frozen_image: Literal["corrected", "published"] = "corrected"
    """Whether the frozen image encoder is in evaluation mode while the rest trains; `published` leaves its
    stochastic depth active."""
    target_colours: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels in which target frames are read; `bgr` is what the published embeddings were made with."""
    tokenizer: str | None = None
    """Folder or hub id of a tokenizer; null: bert-base-uncased's vocabulary with BLIP's tokens added."""


class BlipRetriever(JointRetriever):
    """A BLIP dual encoder whose text side can read pictures: the layouts `blip` and `covr`."""

    config: BlipConfig
    target_parts = ("visual_encoder", "vision_proj")
    target_options = ("image", "target_pooling", "target_colours")

    def __init__(self, config: BlipConfig) -> None:
        super().__init__(config, image_size=config.image.image_size, dim=config.projection_dim)
        self.visual_encoder = AIM(config.image) if isinstance(config.image, AIMConfig) else blip_vit(config.image)
        self.text_encoder = MED(config.text)
        self.vision_proj = nn.Linear(config.image.dim, config.projection_dim)
        self.text_proj = nn.Linear(config.text.dim, config.projection_dim)
        late = config.query == "late-fusion"
        self.combiner = Combiner(config.projection_dim, None, config.late_dim) if late else None
        self.freeze()

    @property
    def query_parts(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("visual_encoder",) if self.combiner is None else self.target_parts

    @property
    def needs(self) -> Needs:
        features: dict[str, Feature | None] = {"text": None, "late-fusion": "frames"}
        query = self.config.query
        tokens: Feature = "frames" if self.on_video else "tokens"
        return Needs(query_feature=features.get(query, tokens), query_text=query != "visual", target_feature="frames")

    @property
    def vocab_size(self) -> int:
        return self.config.text.vocab_size

    def freeze(self) -> None:
        """Leave trainable what CoVR trains for this kind of query."""
        for name, parameter in self.named_parameters():
            if self.config.query == "visual":
                trained = name.startswith("visual_encoder.")
            else:
                trained = name.startswith(("text_encoder.", "text_proj.", "combiner.")) and not (
                    self.config.query in ("text", "late-fusion") and ".crossattention." in name
                )
            parameter.requires_grad_(trained)

    def train(self, mode: bool = True) -> BlipRetriever:
        super().train(mode)
        if self.config.query != "visual" and self.config.frozen_image == "corrected":
            self.visual_encoder.eval()
        return self

    def image_tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pictures to tokens (B, N, E), class token first."""
        return self.visual_encoder(pixels_BCHW)

    def query_tokens(self, frames: Tensor) -> Tensor:
        """Tokens (B, N, E) of the middle frame of pixels (B, T, 3, H, W) or of tokens (B, T, N, E), or given ones.

        Raises:
            UserError: features that are no tokens.
        """
        if frames.ndim == 5:
            return self.visual_encoder(frames) if self.on_video else self.image_tokens(middle(frames))
        tokens_BNE = middle(frames) if frames.ndim == 4 else frames
        if tokens_BNE.ndim != 3 or tokens_BNE.shape[-1] != self.config.image.dim:
            raise UserError(
                f"the query needs image tokens (B, N, {self.config.image.dim}), not {tuple(frames.shape)}",
                type(self).__name__,
                "embed the query clips with feature=tokens",
            )
        return tokens_BNE

    def forward_query(self, frames: Tensor, text: Text, description: Text | None = None) -> Tensor:
        """Composed queries (B, P), of unit length.

        Args:
            frames: normalised pixels (B, T, 3, H, W), of which frame T // 2 is read; or its tokens (B, N, E). With late
                fusion also frame vectors (B, T, P) or one (B, P).
            text: modifications, as strings or as `input_ids` and `attention_mask` (B, L) that begin with [CLS].
            description: not used by this model.
        """
        if self.config.query == "visual":
            return unit(self.vision_proj(self.query_tokens(frames)[:, 0]))
        ids_BL, mask_BL = self.tokenise(text, self.config.max_tokens)
        if self.config.query == "text":
            return self.read(ids_BL, mask_BL)
        if self.combiner is not None:
            if frames.ndim > 2:
                frames = middle(frames)
            if frames.ndim == 4:
                frames = self.target_features(frames[:, None])[:, 0]
            return self.combiner(unit(frames), self.read(ids_BL, mask_BL))
        return self.read_with(ids_BL, mask_BL, self.query_tokens(frames))

    def read(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """The feature of texts alone: [CLS]'s state, projected, of unit length."""
        return unit(self.text_proj(self.text_encoder.read(ids_BL, mask_BL)[:, 0]))

    def read_with(self, ids_BL: Tensor, mask_BL: Tensor, tokens_BNE: Tensor) -> Tensor:
        """The multimodal feature of texts and image tokens: [ENC]'s state, projected, of unit length."""
        return unit(self.text_proj(self.text_encoder.read_with(ids_BL, mask_BL, tokens_BNE)[:, 0]))

    def query_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Tokens (B, N, E) of the middle frame; with late fusion its vector (B, 1, P)."""
        if self.combiner is not None:
            return self.target_features(middle(pixels_BTCHW)[:, None])
        return self.query_tokens(pixels_BTCHW)

    def target_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Frame vectors (B, T, P), of unit length."""
        frames_FNE = self.image_tokens(pixels_BTCHW.flatten(0, 1))
        return unit(self.vision_proj(frames_FNE[:, 0])).unflatten(0, pixels_BTCHW.shape[:2])

    def forward_target(self, frames: Tensor, scores: Tensor | None = None) -> Tensor:
        """Targets (B, P), of unit length.

        Args:
            frames: normalised pixels (B, T, 3, H, W), frame vectors (B, T, P), raw ones (B, T, E) of a video encoder,
                or pooled vectors (B, P).
            scores: (B, T), for pooling by scores.
        """
        if frames.ndim == 5:
            frames = self.visual_encoder(frames) if self.on_video else self.target_features(frames)
        if frames.ndim == 3 and self.on_video:
            return unit(mean_frames(self.vision_proj(frames)))
        if frames.ndim == 3:
            frames = pool_frames(unit(frames), self.config.target_pooling, scores)
        return unit(frames)

    def text_target(self, text: Text) -> Tensor:
        """Feature of the target's caption (B, P), of unit length, for the caption term of the loss."""
        return self.read(*self.tokenise(text, self.config.max_tokens))


def unit(x: Tensor) -> Tensor:
    """Rows of unit length along the last axis."""
    return torch.nn.functional.normalize(x, dim=-1)
