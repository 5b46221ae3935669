"""TF-CoVR stage 2 as published: stored video vectors, a text encoder and the gated combiner, in one module.

Its parameters are those of the published files, the unused ones included, so that a file goes in and out unchanged.
With the AIM encoder that made the vectors beside it, it reads frames as well.

Shapes: B queries or targets, T frames, H x W pixels, L text tokens, D width of the video vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from covr.errors import UserError
from covr.models.fusion.combiner import Combiner
from covr.models.joint.base import JointRetriever, Text
from covr.models.joint.blip import unit
from covr.models.sides import Encoder, Needs
from covr.models.text.cleaning import Cleaning
from covr.models.text.clip import ClipText, ClipTextConfig
from covr.models.text.qformer import QFormer, QFormerConfig
from covr.models.video.aim import AIM, AIMConfig
from covr.models.video.encoder import module_fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class TFCoVRConfig:
    """Options of `TFCoVRRetriever`; the defaults are the published training command's."""

    text: QFormerConfig | ClipTextConfig = field(default_factory=lambda: QFormerConfig(image_dim=768))
    """The text side of a Q-Former (variant `aim`), or CLIP's text tower (variant `aim_clip`)."""
    dim: int = 768
    """D, of the video vectors and of the result."""
    combiner: tuple[int, int] = (3072, 6144)
    """Widths of the combiner's projections and hidden layers."""
    max_tokens: int = 32
    """Longest modification, in tokens (CLIP's tower: its own 77)."""
    video: AIMConfig | None = None
    """The encoder behind the video vectors, which published files do not hold; null: vectors alone are read."""
    vision_dim: int | None = None
    """Input width of the projection of pictures, which published files hold and nothing reads; null: that of the text
    side with a Q-Former, no such projection with CLIP's tower."""
    clip_prefix: str = "clip."
    """Where a file of the variant `aim_clip` keeps CLIP's text tower."""
    tokenizer: str | None = None
    """Folder or hub id of a tokenizer; null: the packaged one of the text side."""


class TFCoVRRetriever(JointRetriever):
    """Video vectors (B, D) and modifications to composed queries: the layout `tf-covr`, both text variants."""

    config: TFCoVRConfig

    def __init__(self, config: TFCoVRConfig) -> None:
        super().__init__(config, image_size=224, dim=config.dim)
        text = config.text
        width = text.dim if isinstance(text, QFormerConfig) else text.projection_dim
        self.qformer = QFormer(text) if isinstance(text, QFormerConfig) else None
        self.clip_text = ClipText(text) if isinstance(text, ClipTextConfig) else None
        vision_dim = config.vision_dim or (width if self.qformer is not None else None)
        self.vision_proj = None if vision_dim is None else nn.Linear(vision_dim, config.dim)
        self.text_proj = nn.Linear(width, config.dim)
        self.combiner = Combiner(config.dim, *config.combiner)
        self.video = None if config.video is None else AIM(config.video)
        if self.video is not None and self.video.dim != config.dim:
            raise UserError(
                f"the video encoder's vectors have {self.video.dim} values, the combiner reads {config.dim}",
                type(self).__name__,
                "give the AIM encoder that the vectors were made with",
            )
        self.freeze()

    @property
    def needs(self) -> Needs:
        return Needs(query_feature="pooled", query_text=True, target_feature="pooled")

    @property
    def query_encoder(self) -> Encoder:
        return self.target_encoder

    @property
    def target_encoder(self) -> Encoder:
        """The AIM encoder.

        Raises:
            UserError: the model was made without one.
        """
        if self.video is None:
            raise UserError(
                "there is no video encoder beside this model",
                type(self).__name__,
                "give the AIM checkpoint: covr import-checkpoint tf-covr ... --video FILE, or model.ckpt.video=FILE",
            )
        return self.video

    @property
    def target_fingerprint(self) -> str:
        """Of the video encoder alone: targets are its vectors."""
        video = nn.ModuleDict({} if self.video is None else {"video": self.video})
        return module_fingerprint(video, type(self).__name__, self.dim)

    @property
    def reads_byte_pairs(self) -> bool:
        return self.clip_text is not None

    @property
    def vocab_size(self) -> int:
        return self.config.text.vocab_size

    def freeze(self) -> None:
        """Leave trainable what TF-CoVR trains: combiner, text projection, and the Q-Former's text side."""
        for module in (self.qformer, self.clip_text, self.vision_proj, self.video):
            if module is not None:
                module.requires_grad_(False)
        if self.qformer is not None:
            self.qformer.freeze_like_published()

    def train(self, mode: bool = True) -> TFCoVRRetriever:
        super().train(mode)
        for frozen in (self.video, self.clip_text):
            if frozen is not None:
                frozen.eval()
        return self

    @property
    def text_limit(self) -> tuple[int, Cleaning]:
        """CLIP's table of positions, or what the Q-Former reads."""
        config = self.config
        return config.max_tokens if self.clip_text is None else config.text.max_positions, "tf-covr"

    def read(self, text: Text) -> Tensor:
        """Text vectors (B, D), of unit length."""
        if self.clip_text is not None:
            ids_BL, _ = self.tokenise(text, *self.text_limit)
            return unit(self.text_proj(self.clip_text.read(ids_BL)))
        assert self.qformer is not None
        ids_BL, mask_BL = self.tokenise(text, *self.text_limit)
        return unit(self.text_proj(self.qformer.read(ids_BL, mask_BL)[:, 0]))

    def text_target(self, text: Text) -> Tensor:
        """Captions (B, D), of unit length."""
        return self.read(text)

    def forward_query(self, frames: Tensor, text: Text, description: Text | None = None) -> Tensor:
        """Composed queries (B, D), of unit length, from pixels (B, T, 3, H, W) or raw vectors (B, D), and texts."""
        return self.combiner(self._vectors(frames), self.read(text))

    def forward_target(self, frames: Tensor, scores: Tensor | None = None) -> Tensor:
        """Targets (B, D), of unit length, from pixels (B, T, 3, H, W) or raw vectors (B, D)."""
        return unit(self._vectors(frames))

    def _prepare(self, frames: Tensor, target: bool = False) -> Tensor:
        frames = frames.to(self.mean.device)
        return self.video.preprocess(frames) if self.video is not None and frames.dtype == torch.uint8 else frames

    def _vectors(self, features: Tensor) -> Tensor:
        if self.video is not None and features.ndim == 5:
            return self.video.pool(features)
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise UserError(
                f"this model reads video vectors (B, {self.dim}), not {tuple(features.shape)}",
                type(self).__name__,
                "give vectors of an AIM encoder, or that encoder beside the model (its option video)",
            )
        return features
