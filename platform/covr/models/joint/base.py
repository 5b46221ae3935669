"""What every joint model offers: the `ComposedRetriever` protocol over one multimodal network.

Shapes: B queries or targets, T frames, H x W pixels, L text tokens, D width of the embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from covr.clips import Sampling
from covr.clips.resize import Stretch
from covr.errors import UserError
from covr.limits import LIMITS
from covr.models import folder
from covr.models.image.vit import CLIP_MEAN, CLIP_STD
from covr.models.joint.encoder import JointEncoder
from covr.models.sides import Encoder, Needs
from covr.models.text.cleaning import Cleaning, clean
from covr.models.text.tokenizer import BYTE_PAIRS_SIZE, VOCABULARY_SIZE, byte_pairs, is_cut, wordpiece
from covr.models.video.aim import AIMConfig
from covr.models.video.encoder import module_fingerprint
from covr.storage import Place

Text = Sequence[str] | Mapping[str, Tensor]
"""Texts as strings, or as `input_ids` and `attention_mask`, both (B, L)."""


class JointRetriever(nn.Module):
    """A multimodal model that embeds composed queries and targets.

    `embed_*` take what callers have (uint8 frames as decoded, or stored features) and no gradient flows;
    `forward_*` take what the network reads (normalised float pixels, or features) and are trained through.

    Attributes:
        config: decides the architecture, the pixels and the tokens; part of the fingerprint.
        dim: D.
        similarity: how a query is compared to a target.
        expand: see `ComposedRetriever`; joint models ask once.
        query_parts, target_parts: the modules that a side's features are made by.
        target_options: the options that target vectors depend on.
    """

    similarity: Literal["cosine", "dot"] = "cosine"
    expand: int | None = None
    query_parts: tuple[str, ...] = ()
    target_parts: tuple[str, ...] = ()
    target_options: tuple[str, ...] = ()
    visual_encoder: Any
    vision_proj: Any

    def __init__(self, config: Any, *, image_size: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.image_size = image_size
        self.dim = dim
        for name, values in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @property
    def needs(self) -> Needs:
        """Which features and texts each side wants."""
        raise NotImplementedError

    @property
    def query_sampling(self) -> Sampling:
        """The frames that the query side reads: the middle one."""
        return Sampling(kind="middle", num_frames=1)

    @property
    def target_sampling(self) -> Sampling:
        """The frames of a target: the middles of 15 segments."""
        return Sampling(kind="covr", num_frames=15)

    @property
    def resize(self) -> Stretch:
        """uint8 frames of any size to those that the network reads."""
        return Stretch(self.image_size)

    @property
    def query_encoder(self) -> Encoder | None:
        """Clips to the features of the query side; None where that reads no picture."""
        if self.needs.query_feature is None:
            return None
        return self.visual_encoder if self.on_video else JointEncoder(self, "query")

    @property
    def target_encoder(self) -> Encoder:
        """Clips to the features of the target side."""
        return self.visual_encoder if self.on_video else JointEncoder(self, "target")

    @property
    def on_video(self) -> bool:
        """Whether a stage-1 video encoder stands in the place of the image encoder: the query then reads a vector of
        each of its frames in the place of one frame's tokens, and what is stored of clips is that encoder's."""
        return isinstance(getattr(self.config, "image", None), AIMConfig)

    @torch.no_grad()
    def set_center(self, frames_NTD: Tensor) -> None:
        """On a video encoder: targets are its vectors around the mean of the training clips', as TF-CoVR has them.

        In the published systems the projection of the picture comes trained, and this is of no effect.
        """
        if self.on_video:
            torch.nn.init.eye_(self.vision_proj.weight)
            self.vision_proj.bias.copy_(-frames_NTD.flatten(0, -2).mean(dim=0))

    def query_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Normalised pixels to what the features table keeps of a query clip, (B, ...)."""
        raise NotImplementedError

    def target_features(self, pixels_BTCHW: Tensor) -> Tensor:
        """Normalised pixels to what the features table keeps of a target, (B, T, ...)."""
        raise NotImplementedError

    def preprocess(self, frames_BTCHW: Tensor, colours: Literal["rgb", "bgr"] = "rgb") -> Tensor:
        """Decoded uint8 RGB frames of any size to normalised pixels (B, T, 3, S, S): bicubic, the whole picture."""
        if colours == "bgr":
            frames_BTCHW = frames_BTCHW.flip(2)
        return (self.resize(frames_BTCHW).to(torch.float32) - self.mean) / self.std

    @torch.no_grad()
    def embed_query(self, frames: Tensor, texts: Text, descriptions: Text | None = None) -> Tensor:
        """Query vectors (B, D) from uint8 frames (B, T, 3, H, W) or stored features, and texts."""
        return self.forward_query(self._prepare(frames), texts, descriptions)

    @torch.no_grad()
    def embed_target(self, frames: Tensor, scores: Tensor | None = None) -> Tensor:
        """Target vectors (B, D) from uint8 frames (B, T, 3, H, W) or stored features."""
        return self.forward_target(self._prepare(frames, target=True), scores)

    def _prepare(self, frames: Tensor, target: bool = False) -> Tensor:
        frames = frames.to(self.mean.device)
        if frames.dtype != torch.uint8:
            return frames
        if self.on_video:
            return self.visual_encoder.preprocess(frames)
        return self.preprocess(frames, self.config.target_colours if target else "rgb")

    def forward_query(self, frames: Tensor, text: Text, description: Text | None = None) -> Tensor:
        """Query vectors (B, D) from normalised pixels (B, T, 3, H, W) or features, and texts."""
        raise NotImplementedError

    def forward_target(self, frames: Tensor, scores: Tensor | None = None) -> Tensor:
        """Target vectors (B, D) from normalised pixels (B, T, 3, H, W) or features."""
        raise NotImplementedError

    def text_target(self, text: Text) -> Tensor:
        """Vectors (B, D), of unit length, of targets' captions: the caption term of the loss."""
        raise NotImplementedError

    def forward(
        self,
        query: Tensor,
        texts: Text,
        target: Tensor,
        descriptions: Text | None = None,
        scores: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Query and target vectors of a training batch: one call, as wrappers for many workers want it."""
        return self.forward_query(query, texts, descriptions), self.forward_target(target, scores)

    def check_trained_from_features(self) -> None:
        """Refuse a model that trains what its stored features are made by.

        Raises:
            UserError: it is one.
        """
        parts = tuple(f"{name}." for name in {*self.query_parts, *self.target_parts})
        trained = [name for name, value in self.named_parameters() if value.requires_grad and name.startswith(parts)]
        if trained:
            raise UserError(
                f"this model trains its picture side ({trained[0]}), which stored features cannot",
                "model",
                "take its weights as they are with model.finetune.max_epochs=0"
                + (", or set model.joint.target_qformer=frozen" if trained[0].startswith("qformer.") else ""),
            )

    @property
    def fingerprint(self) -> str:
        """Hash of everything that query or target vectors depend on."""
        return module_fingerprint(self, type(self).__name__, asdict(self.config))

    @property
    def target_fingerprint(self) -> str:
        """Hash of everything that target vectors depend on."""
        parts = nn.ModuleDict({name: getattr(self, name) for name in self.target_parts if hasattr(self, name)})
        options = {name: value for name, value in asdict(self.config).items() if name in self.target_options}
        return module_fingerprint(parts, type(self).__name__, options)

    def save(self, place: Place) -> None:
        """Write config.json, weights.safetensors and a model card into the folder `place`."""
        marks = {"fingerprint": self.fingerprint, "target_fingerprint": self.target_fingerprint}
        config = {"kind": "retriever", "joint": type(self).__name__, "config": asdict(self.config), **marks}
        folder.write(place, config, self, self._card(marks))

    def _card(self, marks: Mapping[str, str]) -> str:
        size = sum(parameter.numel() for parameter in self.parameters())
        summary = " ".join((type(self).__doc__ or "").split())
        return f"""---
library_name: covr
tags: [composed-video-retrieval]
---
# {type(self).__name__}

{summary} {size:,} parameters; vectors of {self.dim} values, compared by {self.similarity}.

    from covr.models import ComposedRetriever
    retriever = ComposedRetriever.load(".")

Fingerprint {marks["fingerprint"]}, of the target side {marks["target_fingerprint"]}.
"""

    def tokenise(self, text: Text, max_tokens: int, cleaning: Cleaning = "covr") -> tuple[Tensor, Tensor]:
        """Ids and mask (B, L) of strings, cleaned and cut at `max_tokens`; of a mapping, its own.

        Raises:
            UserError: strings over the limit, or a mapping without ids and mask.
        """
        if isinstance(text, Mapping):
            if not {"input_ids", "attention_mask"} <= set(text):
                raise UserError("a tokenised text has input_ids and attention_mask", str(list(text)), "give both")
            return text["input_ids"].to(self.mean.device), text["attention_mask"].to(self.mean.device)
        if isinstance(text, str):
            raise UserError("one string in place of a list of texts", text[:40], "give [text]")
        for one in text:
            if len(one) > LIMITS.max_text_chars:
                raise UserError(f"a text of {len(one)} characters", one[:40], f"give at most {LIMITS.max_text_chars}")
        tokens = self.tokenizer(
            [clean(one, cleaning) for one in text],
            padding="longest",
            truncation=True,
            max_length=max_tokens,
            return_tensors="pt",
        )
        return tokens["input_ids"].to(self.mean.device), tokens["attention_mask"].to(self.mean.device)

    @property
    def text_limit(self) -> tuple[int, Cleaning]:
        """The most tokens of a modification that are read, and how it is cleaned."""
        return self.config.max_tokens, "covr"

    def is_cut(self, text: str) -> bool:
        """Whether the end of a text is not read."""
        max_tokens, cleaning = self.text_limit
        return is_cut(text, cleaning, self.tokenizer, max_tokens)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of strings.

        Raises:
            UserError: it is not at the configured place, or the model is too small for the packaged vocabulary.
        """
        source = self.config.tokenizer
        if source is None:
            size = BYTE_PAIRS_SIZE if self.reads_byte_pairs else VOCABULARY_SIZE
            if self.vocab_size < size:
                raise UserError(
                    f"this model knows {self.vocab_size} tokens, the packaged vocabulary has {size}",
                    type(self).__name__,
                    "give input_ids and attention_mask, or a tokenizer in model.joint.tokenizer",
                )
            return byte_pairs() if self.reads_byte_pairs else wordpiece()
        try:
            return AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"no tokenizer there ({reason})", f"tokenizer={source}", "give a folder or hub id"
            ) from None

    @property
    def reads_byte_pairs(self) -> bool:
        """Whether texts are CLIP's byte pairs; else they are WordPiece."""
        return False

    @property
    def vocab_size(self) -> int:
        """Rows of the table of words."""
        raise NotImplementedError


def middle(frames_BT: Tensor) -> Tensor:
    """Frame T // 2 of each clip: CoVR's query frame."""
    return frames_BT[:, frames_BT.shape[1] // 2]
