"""Modules with random weights, of the sizes that the shapes in a published file tell and of those that are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field

from covr.checkpoints.sizes import Shapes
from covr.errors import UserError
from covr.models.fusion.combiner import Combiner
from covr.models.image.clip import ClipResNetConfig, ClipViTConfig
from covr.models.image.vit import ImageConfig
from covr.models.joint import (
    Blip2Config,
    Blip2Retriever,
    BlipConfig,
    BlipRetriever,
    ClipConfig,
    ClipRetriever,
    TFCoVRConfig,
    TFCoVRRetriever,
)
from covr.models.text.clip import ClipTextConfig
from covr.models.text.med import MEDConfig
from covr.models.text.qformer import QFormerConfig
from covr.models.video.aim import AIM, AIMConfig

Count = Annotated[int, Field(gt=0)]
TokenId = Annotated[int, Field(ge=0)]


def aim(shapes: Shapes, *, num_heads: Count | None = None, adapter_scale: float = 0.5) -> AIM:
    """Of the layout `aim`; `adapter_scale` is 1.0 in the published models for Something-Something v2."""
    dim, patch = shapes.size("conv1.weight", 0), shapes.size("conv1.weight", 2)
    first = "transformer.resblocks.0."
    return AIM(
        AIMConfig(
            image_size=patch * shapes.side(shapes.size("positional_embedding", 0)),
            patch_size=patch,
            num_frames=shapes.size("temporal_embedding", 1),
            dim=dim,
            depth=shapes.count("transformer.resblocks.{}."),
            num_heads=shapes.heads(dim, num_heads, "num_heads"),
            adapter_ratio=shapes.size(f"{first}S_Adapter.D_fc1.weight", 0) / dim,
            adapter_scale=adapter_scale,
            num_temporal_adapters=2 if f"{first}T_Adapter_in.D_fc1.weight" in shapes else 1,
        )
    )


def _clip_text_config(shapes: Shapes, prefix: str, num_heads: Count | None) -> ClipTextConfig:
    dim = shapes.size(f"{prefix}token_embedding.weight", 1)
    return ClipTextConfig(
        vocab_size=shapes.size(f"{prefix}token_embedding.weight", 0),
        dim=dim,
        depth=shapes.count(f"{prefix}transformer.resblocks.{{}}."),
        num_heads=shapes.heads(dim, num_heads, "text_num_heads"),
        max_positions=shapes.size(f"{prefix}positional_embedding", 0),
        projection_dim=shapes.size(f"{prefix}text_projection", 1),
    )


def clip(
    shapes: Shapes,
    *,
    num_heads: Count | None = None,
    text_num_heads: Count | None = None,
    query: Literal["sum", "slerp", "text", "visual", "mlp"] = "sum",
) -> ClipRetriever:
    """Of the layout `openai-clip`, of either kind of image tower."""
    image: ClipViTConfig | ClipResNetConfig
    if "visual.class_embedding" in shapes:
        dim, patch = shapes.size("visual.conv1.weight", 0), shapes.size("visual.conv1.weight", 2)
        image = ClipViTConfig(
            image_size=patch * shapes.side(shapes.size("visual.positional_embedding", 0)),
            patch_size=patch,
            dim=dim,
            depth=shapes.count("visual.transformer.resblocks.{}."),
            num_heads=shapes.heads(dim, num_heads, "num_heads"),
            projection_dim=shapes.size("visual.proj", 1),
        )
    else:
        one, two, three, four = (shapes.count(f"visual.layer{stage}.{{}}.") for stage in (1, 2, 3, 4))
        image = ClipResNetConfig(
            image_size=32 * shapes.side(shapes.size("visual.attnpool.positional_embedding", 0)),
            layers=(one, two, three, four),
            width=shapes.size("visual.conv3.weight", 0),
            num_heads=shapes.heads(shapes.size("visual.attnpool.q_proj.weight", 0), num_heads, "num_heads"),
            projection_dim=shapes.size("visual.attnpool.c_proj.weight", 0),
        )
    text = _clip_text_config(shapes, "", text_num_heads)
    widths = _combiner_widths(shapes) or ClipConfig().combiner
    return ClipRetriever(ClipConfig(image=image, text=text, query=query, combiner=widths))


FUSED = "combiner.output_layer.weight"


def blip(retriever: type[BlipRetriever], configuration: type[BlipConfig]) -> Callable[..., BlipRetriever]:
    """Of the layouts `blip`, `covr`, `bse-covr` and `ecde`."""

    def build(
        shapes: Shapes,
        *,
        num_heads: Count | None = None,
        text_num_heads: Count | None = None,
        enc_token_id: TokenId | None = None,
        image_size: Count | None = None,
        query: Literal["multimodal", "text", "visual", "late-fusion"] = "multimodal",
    ) -> BlipRetriever:
        image_dim, patch = (shapes.size("visual_encoder.patch_embed.proj.weight", axis) for axis in (0, 2))
        words = "text_encoder.embeddings.word_embeddings.weight"
        vocab_size, dim = shapes.size(words, 0), shapes.size(words, 1)
        return retriever(
            configuration(
                image=ImageConfig(
                    image_size=image_size or patch * shapes.side(shapes.size("visual_encoder.pos_embed", 1)),
                    patch_size=patch,
                    dim=image_dim,
                    depth=shapes.count("visual_encoder.blocks.{}."),
                    num_heads=shapes.heads(image_dim, num_heads, "num_heads"),
                    ffn_dim=shapes.size("visual_encoder.blocks.0.mlp.fc1.weight", 0),
                ),
                text=MEDConfig(
                    vocab_size=vocab_size,
                    dim=dim,
                    depth=shapes.count("text_encoder.encoder.layer.{}."),
                    num_heads=shapes.heads(dim, text_num_heads, "text_num_heads"),
                    ffn_dim=shapes.size("text_encoder.encoder.layer.0.intermediate.dense.weight", 0),
                    max_positions=shapes.size("text_encoder.embeddings.position_embeddings.weight", 0),
                    image_dim=image_dim,
                    enc_token_id=vocab_size - 1 if enc_token_id is None else enc_token_id,
                ),
                projection_dim=shapes.size("text_proj.weight", 0),
                query=query,
                late_dim=shapes.size(FUSED, 1) if FUSED in shapes else BlipConfig().late_dim,
            )
        )

    return build


WORDS = "Qformer.bert.embeddings.word_embeddings.weight"
DECODER, HEAD_BIAS = "Qformer.cls.predictions.decoder", "Qformer.cls.predictions.bias"


def _qformer_config(shapes: Shapes, num_heads: Count | None) -> QFormerConfig:
    vocab_size, dim = shapes.size(WORDS, 0), shapes.size(WORDS, 1)
    layer = "Qformer.bert.encoder.layer.{}"
    depth = shapes.count(f"{layer}.")
    crossed = [i for i in range(depth) if f"{layer.format(i)}.crossattention.self.query.weight" in shapes]
    tied = f"{DECODER}.weight" not in shapes or (
        torch.equal(shapes.tensors[f"{DECODER}.weight"], shapes.tensors[WORDS])
        and torch.equal(shapes.tensors[f"{DECODER}.bias"], shapes.tensors[HEAD_BIAS])
    )
    return QFormerConfig(
        vocab_size=vocab_size,
        dim=dim,
        depth=depth,
        num_heads=shapes.heads(dim, num_heads, "text_num_heads"),
        ffn_dim=shapes.size(f"{layer.format(0)}.intermediate.dense.weight", 0),
        max_positions=shapes.size("Qformer.bert.embeddings.position_embeddings.weight", 0),
        num_queries=shapes.size("query_tokens", 1),
        image_dim=shapes.size(f"{layer.format(0)}.crossattention.self.key.weight", 1),
        cross_attention_every=crossed[1] if len(crossed) > 1 else depth,
        tied_head=tied,
    )


def blip2(
    shapes: Shapes,
    *,
    num_heads: Count | None = None,
    text_num_heads: Count | None = None,
    image_size: Count | None = None,
    query: Literal["multimodal", "text", "visual", "mlp"] = "multimodal",
) -> Blip2Retriever:
    """Of the layouts `blip2` and `covr2`."""
    image_dim, patch = (shapes.size("visual_encoder.patch_embed.proj.weight", axis) for axis in (0, 2))
    return Blip2Retriever(
        Blip2Config(
            image=ImageConfig(
                image_size=image_size or patch * shapes.side(shapes.size("visual_encoder.pos_embed", 1)),
                patch_size=patch,
                dim=image_dim,
                depth=shapes.count("visual_encoder.blocks.{}."),
                num_heads=shapes.heads(image_dim, num_heads, "num_heads", 88 if image_dim == 1408 else 64),
                ffn_dim=shapes.size("visual_encoder.blocks.0.mlp.fc1.weight", 0),
                drop_path=0.0,
            ),
            qformer=_qformer_config(shapes, text_num_heads),
            projection_dim=shapes.size("text_proj.weight", 0),
            query=query,
            combiner=_combiner_widths(shapes) or Blip2Config().combiner,
        )
    )


def _combiner_widths(shapes: Shapes) -> tuple[int, int] | None:
    """Widths of the combiner's projections and hidden layers, where the file has a combiner."""
    if FUSED not in shapes:
        return None
    return shapes.size("combiner.text_projection_layer.weight", 0), shapes.size(FUSED, 1)


def tf_covr(
    shapes: Shapes,
    *,
    num_heads: Count | None = None,
    text_num_heads: Count | None = None,
    video: AIMConfig | None = None,
) -> TFCoVRRetriever:
    """Of the layout `tf-covr`, of either kind of text encoder: the one transformer in the file, by either name."""
    text: QFormerConfig | ClipTextConfig
    num_heads, anchor = text_num_heads or num_heads, "token_embedding.weight"
    towers = [name.removesuffix(anchor) for name in shapes.tensors if name == anchor or name.endswith(f".{anchor}")]
    projects = "vision_proj.weight" in shapes or "vision_proj.bias" in shapes
    if WORDS in shapes:
        text = _qformer_config(shapes, num_heads)
    elif towers:
        text = _clip_text_config(shapes, towers[0], num_heads)
    else:
        raise UserError("the file holds neither a Q-Former nor CLIP's text tower", shapes.where, "give a whole file")
    return TFCoVRRetriever(
        TFCoVRConfig(
            text=text,
            dim=shapes.size("text_proj.weight", 0),
            combiner=_combiner_widths(shapes) or TFCoVRConfig().combiner,
            video=video,
            vision_dim=shapes.size("vision_proj.weight", 1) if projects else None,
            clip_prefix=towers[0] if towers else "clip.",
        )
    )


def combiner(shapes: Shapes) -> Combiner:
    """Of the layout `combiner`."""
    return Combiner(
        shapes.size("output_layer.weight", 0),
        shapes.size("text_projection_layer.weight", 0),
        shapes.size("output_layer.weight", 1),
    )
