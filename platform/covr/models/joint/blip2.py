"""CoVR-2 on BLIP-2: 32 queries read picture and modification together; their projected states are averaged.

Ventura et al., "CoVR-2: Automatic Data Construction for Composed Video Retrieval", TPAMI 2024.

Shapes: B queries or targets, T frames, N image tokens, E image width, Q learned queries, P shared width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from covr.clips import Sampling
from covr.errors import UserError
from covr.models.fusion.combiner import Combiner
from covr.models.image.vit import EVA_GIANT, ImageConfig, eva_vit
from covr.models.joint.base import JointRetriever, Text, middle
from covr.models.joint.blip import unit
from covr.models.joint.pooling import Pooling, mean_frames, pool_frames
from covr.models.sides import Feature, Needs
from covr.models.text.qformer import QFormer, QFormerConfig
from covr.models.video.aim import AIM, AIMConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Blip2Config:
    """Options of `Blip2Retriever`; the defaults are BLIP-2 with EVA ViT-g as CoVR-2 uses it."""

    image: ImageConfig | AIMConfig = EVA_GIANT
    """The image encoder, or a stage-1 video encoder in its place (see `JointRetriever.on_video`): the targets are then
    its vectors, because no Q-Former that was trained on pictures is there to read them."""
    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    projection_dim: int = 256
    """P, the width of the shared space."""
    query: Literal["multimodal", "text", "visual", "mlp"] = "multimodal"
    """What the query is made of: both inputs read together, the text alone, the picture alone, or the text's vector
    and the picture's in a gated combiner (TF-CoVR's BLIP-2 MLP rows)."""
    combiner: tuple[int, int] = (1024, 2048)
    """Widths of the combiner's projections and hidden layers, for `mlp`."""
    query_frames: int = 1
    """1: the middle frame. More: so many, each read with the text and the results averaged (TF-CoVR: 4 or 8)."""
    mean_of_queries: Literal["corrected", "published"] = "corrected"
    """`corrected` compares means of unit length; `published` the means of unit vectors as they are, by their dot
    product, which is what released weights were trained with."""
    max_tokens: int = 64
    """Longest modification, in tokens (published: 32 in training, 64 in testing)."""
    target_pooling: Pooling = "scores"
    """How a target's frames become one."""
    target_qformer: Literal["shared", "frozen"] = "shared"
    """`shared`: targets are read by the Q-Former of the queries; `frozen`: by a copy of it as it was before
    training, as the published systems do, whose targets are embedded once. Training from stored targets needs it."""
    target_colours: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels in which target frames are read; `bgr` is what the published embeddings were made with."""
    tokenizer: str | None = None
    """Folder or hub id of a tokenizer; null: bert-base-uncased's vocabulary with BLIP-2's token added."""


class Blip2Retriever(JointRetriever):
    """Image encoder, its norm, Q-Former and two projections: the layouts `blip2` and `covr2`."""

    config: Blip2Config
    target_options = ("image", "target_pooling", "mean_of_queries", "target_colours")

    def __init__(self, config: Blip2Config) -> None:
        super().__init__(config, image_size=config.image.image_size, dim=config.projection_dim)
        self.visual_encoder = AIM(config.image) if isinstance(config.image, AIMConfig) else eva_vit(config.image)
        self.ln_vision = nn.LayerNorm(config.image.dim)
        self.qformer = QFormer(config.qformer)
        self.vision_proj = nn.Linear(config.image.dim if self.on_video else config.qformer.dim, config.projection_dim)
        self.text_proj = nn.Linear(config.qformer.dim, config.projection_dim)
        self.combiner = Combiner(self.dim, *config.combiner) if config.query == "mlp" else None
        self.target_qformer = QFormer(config.qformer) if config.target_qformer == "frozen" else None
        self.fix_targets()
        self.freeze()

    def fix_targets(self) -> None:
        """Let targets be read by the Q-Former as it is now; of no effect where it is shared."""
        if self.target_qformer is not None:
            self.target_qformer.load_state_dict(self.qformer.state_dict())

    @property
    def target_parts(self) -> tuple[str, ...]:  # type: ignore[override]
        if self.on_video:
            return ("visual_encoder", "vision_proj")
        qformer = "qformer" if self.target_qformer is None else "target_qformer"
        return ("visual_encoder", "ln_vision", qformer, "vision_proj")

    @property
    def query_parts(self) -> tuple[str, ...]:  # type: ignore[override]
        if self.on_video:
            return ("visual_encoder",)
        return self.target_parts if self.config.query == "mlp" else ("visual_encoder", "ln_vision")

    @property
    def needs(self) -> Needs:
        feature: dict[str, Feature | None] = {"text": None, "mlp": "frames"}
        query = self.config.query
        tokens: Feature = "frames" if self.on_video else "tokens"
        return Needs(query_feature=feature.get(query, tokens), query_text=query != "visual", target_feature="frames")

    @property
    def query_sampling(self) -> Sampling:
        """The middle frame, or the middles of `query_frames` segments."""
        if self.config.query_frames == 1:
            return super().query_sampling
        return Sampling(kind="covr", num_frames=self.config.query_frames)

    @property
    def vocab_size(self) -> int:
        return self.config.qformer.vocab_size

    @property
    def similarity(self) -> Literal["cosine", "dot"]:  # type: ignore[override]
        means = self.config.mean_of_queries == "published" and self.config.query != "mlp"
        return "dot" if means else "cosine"

    def freeze(self) -> None:
        """Leave trainable what CoVR-2 trains: the Q-Former but its tied embeddings and head, and the projection."""
        frozen = (
            "visual_encoder.",
            "ln_vision.",
            "vision_proj.",
            "qformer.head.",
            *([] if self.on_video else ["qformer.embeddings.word_embeddings."]),  # random there, nothing to keep
            "target_qformer.",
        )
        visual = self.config.query == "visual"
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("visual_encoder.") if visual else not name.startswith(frozen))

    def train(self, mode: bool = True) -> Blip2Retriever:
        super().train(mode)
        self.visual_encoder.eval()  # published: the image encoder is forced to evaluation mode
        return self

    def image_tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pictures to tokens (B, N, E), after the norm."""
        return self.ln_vision(self.visual_encoder(pixels_BCHW))

    def query_tokens(self, frames: Tensor) -> Tensor:
        """Tokens (B, T, N, E) of the frames that the query reads.

        Raises:
            UserError: features that are no tokens.
        """
        if self.on_video:  # one picture, whose tokens are the frames' vectors
            return self.ln_vision(self.visual_encoder(frames) if frames.ndim == 5 else frames)[:, None]
        if self.config.query_frames == 1 and frames.ndim > 3:
            frames = middle(frames)[:, None]
        if frames.ndim == 5:
            return self.image_tokens(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        if frames.ndim == 3:
            frames = frames[:, None]
        if frames.ndim != 4 or frames.shape[-1] != self.config.image.dim:
            raise UserError(
                f"the query needs image tokens (B, N, {self.config.image.dim}), not {tuple(frames.shape)}",
                type(self).__name__,
                "embed the query clips with feature=tokens",
            )
        return frames

    def forward_query(self, frames: Tensor, text: Text, description: Text | None = None) -> Tensor:
        """Composed queries (B, P): means of unit vectors, see `mean_of_queries`.

        Args:
            frames: normalised pixels (B, T, 3, H, W), or tokens (B, N, E) or (B, T, N, E); a frame of NaN is not
                there. With a combiner: as of `forward_target`.
            text: modifications, as strings or as `input_ids` and `attention_mask` (B, L) that begin with [CLS].
            description: not used by this model.
        """
        if self.config.query == "visual":
            return self._finish(mean_frames(self._rows(self.query_tokens(frames), self.qformer)).mean(dim=1))
        if self.config.query == "text":
            return self.text_target(text)
        if self.combiner is not None:
            return self.combiner(self._mean_of_rows(frames), self.text_target(text))  # raw, as published
        ids_BL, mask_BL = self.tokenise(text, self.config.max_tokens)
        tokens_BTNE = self.query_tokens(frames)
        B, T = tokens_BTNE.shape[:2]
        ids_FL, mask_FL = ids_BL.repeat_interleave(T, dim=0), mask_BL.repeat_interleave(T, dim=0)
        states_FQD = self.qformer.read_with(ids_FL, mask_FL, tokens_BTNE.flatten(0, 1))
        rows_FQP = unit(self.text_proj(states_FQD[:, : self.config.qformer.num_queries]))
        return self._finish(mean_frames(rows_FQP.mean(dim=1).view(B, T, -1)))

    def text_target(self, text: Text) -> Tensor:
        """Captions (B, P), of unit length."""
        ids_BL, mask_BL = self.tokenise(text, self.config.max_tokens)
        return unit(self.text_proj(self.qformer.read(ids_BL, mask_BL)[:, 0]))

    def _rows(self, tokens_BTNE: Tensor, qformer: QFormer) -> Tensor:
        states_FQD = qformer.look(tokens_BTNE.flatten(0, 1))
        return unit(self.vision_proj(states_FQD)).unflatten(0, tokens_BTNE.shape[:2])

    def _finish(self, mean_BP: Tensor) -> Tensor:
        return mean_BP if self.similarity == "dot" else unit(mean_BP)

    def query_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Tokens of the frames that the query reads, (B, N, E) of one and (B, T, N, E) of several; with a combiner
        their features (B, T, Q, P)."""
        if self.combiner is not None:
            return self.target_features(pixels_BTCHW)
        tokens_BTNE = self.query_tokens(pixels_BTCHW)
        return tokens_BTNE[:, 0] if self.config.query_frames == 1 else tokens_BTNE

    def target_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Frame features (B, T, Q, P), rows of unit length."""
        tokens_BTNE = self.image_tokens(pixels_BTCHW.flatten(0, 1)).unflatten(0, pixels_BTCHW.shape[:2])
        return self._rows(tokens_BTNE, self.target_qformer or self.qformer)

    def forward_target(self, frames: Tensor, scores: Tensor | None = None) -> Tensor:
        """Targets (B, P): means of unit vectors, see `mean_of_queries`.

        Args:
            frames: normalised pixels (B, T, 3, H, W), frame features (B, T, Q, P), one frame's (B, Q, P), or pooled
                vectors (B, P).
            scores: (B, T), for pooling by scores.
        """
        return self._finish(self._mean_of_rows(frames, scores))

    def _mean_of_rows(self, frames: Tensor, scores: Tensor | None = None) -> Tensor:
        if self.on_video:
            return mean_frames(self.vision_proj(self.visual_encoder(frames) if frames.ndim == 5 else frames))
        if frames.ndim == 5:
            frames = self.target_features(frames)
        if frames.ndim == 4:
            frames = pool_frames(frames, self.config.target_pooling, scores)
        return frames.mean(dim=1) if frames.ndim == 3 else frames
