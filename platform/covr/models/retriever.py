"""The composed retriever: video encoder, text encoder and fusion; queries and targets to unit vectors of one space.

Shapes: B clips, T frames, C x H x W pixels, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from covr.errors import UserError
from covr.limits import LIMITS
from covr.models import folder
from covr.models.fusion import Fusion, FusionConfig, build_fusion
from covr.models.head import VideoHead
from covr.models.sides import Encoder, Feature, Needs
from covr.models.text import TextConfig, TextEncoder
from covr.models.video.encoder import VideoEncoder, module_fingerprint, settings
from covr.models.video.store import restore_video
from covr.storage import Place
from covr.tracking.download import local_place

Texts = Sequence[str] | Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrieverConfig:
    """How vectors are prepared around the encoders; the defaults are the published ones."""

    center: bool = False
    """Subtract the training set's mean video vector on both sides."""
    query_video: Literal["raw", "unit"] = "raw"
    """The query's video vector as the fusion gets it: as encoded, or of unit length."""
    query_frames: Literal["all", "middle"] = "all"
    """The query's video vector: that of all frames, or the middle frame's own."""
    head: int | None = None
    """Width of the hidden layer of a trained residual head on the video vectors of both sides; None: there is none,
    and targets are what the video encoder gives (published)."""
    expand: int | None = None
    """So many of a query's best answers are added to its vector, which is then asked again (`covr.index.expansion`);
    None: it is asked once (published)."""

    def __post_init__(self) -> None:
        if self.expand is not None and not 1 <= self.expand <= LIMITS.max_k:
            raise UserError(
                "not a number of answers", f"model.expand={self.expand}", f"give 1 to {LIMITS.max_k}, or null"
            )


class ComposedRetriever(nn.Module):
    """A query video and a text to a vector near that of the clips it asks for.

    Args:
        config: how vectors are prepared.
        video: the encoder of both sides.
        text: the text encoder, with vectors as wide as the video's; None where the fusion reads no text.
        fusion: query video and text to one vector.

    Attributes:
        similarity: of a query vector and a target vector; both are of unit length.
    """

    similarity: Literal["cosine", "dot"] = "cosine"

    def __init__(self, config: RetrieverConfig, video: VideoEncoder, text: TextEncoder | None, fusion: Fusion) -> None:
        super().__init__()
        self.config = config
        self.video, self.text, self.fusion = video, text, fusion
        self.center = nn.Buffer(torch.zeros(video.dim))
        self.head = None if config.head is None else VideoHead(video.dim, config.head)

    @property
    def expand(self) -> int | None:
        """How many of a query's best answers are added to it before it is asked again; None: it is asked once."""
        return self.config.expand

    @property
    def needs(self) -> Needs:
        """Which features and texts each side wants."""
        feature: Feature | None = "frames" if self.config.query_frames == "middle" else "pooled"
        if not self.fusion.needs_video:
            feature = None
        return Needs(query_feature=feature, query_text=self.fusion.needs_text, target_feature="pooled")

    @property
    def query_encoder(self) -> Encoder | None:
        """Clips to the features of the query side; None where the fusion looks at no video."""
        return self.video if self.fusion.needs_video else None

    @property
    def target_encoder(self) -> Encoder:
        """Clips to the features of the target side."""
        return self.video

    def embed_query(self, frames_or_features: Tensor, texts: Texts) -> Tensor:
        """Unit query vectors (B, D).

        Args:
            frames_or_features: decoded uint8 frames (B, T, 3, H, W), raw pooled features (B, D), or raw frame vectors
                (B, T, D) where the query is the middle one.
            texts: the modifications, B of them.
        """
        return self.forward_query(self._preprocess(frames_or_features), texts)

    def embed_target(self, frames_or_features: Tensor) -> Tensor:
        """Unit target vectors (B, D) of decoded uint8 frames (B, T, 3, H, W) or raw pooled features (B, D)."""
        return self.forward_target(self._preprocess(frames_or_features))

    def text_target(self, texts: Texts) -> Tensor:
        """Unit vectors (B, D) of texts alone, in the space of the targets.

        Raises:
            UserError: the fusion reads no text, so there is no text encoder.
        """
        if self.text is None:
            raise UserError("this retriever reads no text", self.fusion.config.kind, "give a video")
        return self.text(texts)

    def is_cut(self, text: str) -> bool:
        """Whether the end of a text is not read."""
        return self.text is not None and self.text.is_cut(text)

    def embed_query_with_share(self, features: Tensor, texts: Texts) -> tuple[Tensor, Tensor | None]:
        """As `embed_query`, and the weight (B,) that the fusion gives the text against the video, 0 to 1; None where it
        has no such number. Each side is encoded once.

        Args:
            features: raw pooled features (B, D).
        """
        video, text = self._query_sides(features, texts)
        share = None if video is None or text is None else self.fusion.text_share(video, text)
        return self.fusion(video, text), share

    def forward_query(self, pixels_or_features: Tensor, texts: Texts) -> Tensor:
        """As `embed_query`, of normalised float pixels (B, T, 3, H, W) or raw pooled features (B, D)."""
        return self.fusion(*self._query_sides(pixels_or_features, texts))

    def forward_target(self, pixels_or_features: Tensor) -> Tensor:
        """As `embed_target`, of normalised float pixels (B, T, 3, H, W) or raw pooled features (B, D)."""
        return nn.functional.normalize(self._seen(self._encode(pixels_or_features)), dim=-1)

    def forward(self, query: Tensor, texts: Texts, target: Tensor) -> tuple[Tensor, Tensor]:
        """Query and target vectors of a training batch: one call, as wrappers for many workers want it."""
        return self.forward_query(query, texts), self.forward_target(target)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.video.parameters()):
            self.video.eval()  # no stochastic depth where nothing learns
        return self

    def set_center(self, features_ND: Tensor) -> None:
        """Take the mean of the training set's raw pooled features; of no effect with `center: false`."""
        if self.config.center:
            self.center.copy_(features_ND.mean(dim=0))

    @property
    def fingerprint(self) -> str:
        """Hash of everything that query or target vectors depend on."""
        return module_fingerprint(self, self._settings())

    @property
    def target_fingerprint(self) -> str:
        """Hash of everything that target vectors depend on."""
        parts = self.video if self.head is None else nn.ModuleDict({"video": self.video, "head": self.head})
        return module_fingerprint(parts, settings(self.video.config), self.center.tolist())

    def save(self, place: Place) -> None:
        """Write the retriever, its video encoder included, into the folder `place`."""
        marks = {"fingerprint": self.fingerprint, "target_fingerprint": self.target_fingerprint}
        folder.write(place, {"kind": "retriever", **self._settings(), **marks}, self, _card(self, marks))

    @classmethod
    def load(cls, uri: str | Place) -> Any:
        """The retriever of a folder, an object store (s3://, gs://), a run (runs:/ID/retriever) or the registry
        (models:/covr@champion), in evaluation mode; a `JointRetriever` where the folder holds one.

        Raises:
            UserError: nothing there, or a damaged folder.
        """
        place = uri if isinstance(uri, Place) else local_place(uri)
        config, state = folder.read(place, "retriever")
        if "joint" in config:
            from covr.models.joint.store import restore_joint  # it needs this module

            return restore_joint(config, state, str(place))
        where = str(place)
        video = restore_video(config["video"], where).requires_grad_(False)
        text = TextEncoder(folder.restore(TextConfig, config["text"], where), video.dim) if config["text"] else None
        fusion = build_fusion(folder.restore(FusionConfig, config["fusion"], where), video.dim)
        retriever = cls(folder.restore(RetrieverConfig, config["retriever"], where), video, text, fusion)
        folder.load_exactly(retriever, state, where)
        return retriever.eval()

    def _settings(self) -> dict[str, object]:
        return {
            "retriever": asdict(self.config),
            "video": settings(self.video.config),
            "text": None if self.text is None else settings(self.text.config),
            "fusion": asdict(self.fusion.config),
        }

    def _preprocess(self, frames_or_features: Tensor) -> Tensor:
        frames_or_features = frames_or_features.to(self.center.device)
        is_frames = frames_or_features.dtype == torch.uint8
        return self.video.preprocess(frames_or_features) if is_frames else frames_or_features

    def _encode(self, pixels_or_features: Tensor) -> Tensor:
        """Raw pooled features (B, D)."""
        if pixels_or_features.ndim == 5:
            return self.video.pool(pixels_or_features)
        if pixels_or_features.ndim == 2 and pixels_or_features.shape[1] == self.video.dim:
            return pixels_or_features
        raise UserError(
            f"features of shape {tuple(pixels_or_features.shape)}",
            "query or target",
            f"give frames (B, T, 3, H, W) or pooled features (B, {self.video.dim})",
        )

    def _query_sides(self, pixels_or_features: Tensor, texts: Texts) -> tuple[Tensor | None, Tensor | None]:
        """What the fusion gets of a query's video and text; None where it reads none."""
        video = self._query_video(pixels_or_features) if self.fusion.needs_video else None
        return video, self.text(texts) if self.text is not None else None

    def _query_video(self, pixels_or_features: Tensor) -> Tensor:
        if self.config.query_frames == "middle":
            frames_BTD = self.video(pixels_or_features) if pixels_or_features.ndim == 5 else pixels_or_features
            pixels_or_features = frames_BTD[:, frames_BTD.shape[1] // 2]
        video_BD = self._seen(self._encode(pixels_or_features))
        return nn.functional.normalize(video_BD, dim=-1) if self.config.query_video == "unit" else video_BD

    def _seen(self, video_BD: Tensor) -> Tensor:
        """Raw vectors around their centre, through the head where there is one."""
        video_BD = video_BD - self.center
        return video_BD if self.head is None else self.head(video_BD)


def _card(retriever: ComposedRetriever, marks: Mapping[str, str]) -> str:
    size = sum(parameter.numel() for parameter in retriever.parameters())
    return f"""---
library_name: covr
tags: [composed-video-retrieval]
---
# Composed video retriever ({retriever.fusion.config.kind})

{size:,} parameters, video encoder included. A query video and a sentence that says what should be different become
one vector of {retriever.video.dim} values, near (cosine) the vectors of the clips that are asked for.

    from covr.models.retriever import ComposedRetriever
    retriever = ComposedRetriever.load(".")
    query = retriever.embed_query(frames, ["show it three times"])   # uint8 RGB (B, T, 3, H, W)
    target = retriever.embed_target(gallery_frames)

Reads {retriever.video.num_frames} {retriever.video.sampling.kind} frames of a clip. Fingerprint
{marks["fingerprint"]}, of the target side {marks["target_fingerprint"]}.
"""
