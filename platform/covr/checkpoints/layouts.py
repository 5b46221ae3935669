"""The published layouts: how a module is built from a file's shapes, and where its tensors are named."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from covr.checkpoints import names
from covr.checkpoints.names import Source, below, renamed
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
    BSEConfig,
    BSERetriever,
    ClipConfig,
    ClipRetriever,
    ECDEConfig,
    ECDERetriever,
    TFCoVRConfig,
    TFCoVRRetriever,
)
from covr.models.text.clip import ClipTextConfig
from covr.models.text.med import MEDConfig
from covr.models.text.qformer import QFormer, QFormerConfig
from covr.models.video.aim import AIM, AIMConfig


def _no_derived(module: nn.Module) -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One way in which weights are published."""

    name: str
    module: type[nn.Module]
    """What its files become."""
    build: Callable[..., nn.Module]
    """(shapes, **sizes) -> a module with random weights."""
    sources: Callable[[Any], list[Source]]
    """Where each tensor of the module is."""
    anchor: str
    """A published name that every file of the layout has; what stands before it is the file's prefix."""
    wrapper: str | None = "model"
    """Key of the state dict in a published file."""
    fusion: tuple[str, ...] = ()
    """Beginnings of the published names without which a query would not be composed."""
    derived: Callable[[Any], dict[str, Tensor]] = _no_derived
    """Published tensors that repeat others or are constants: not kept, written again on export."""
    prefix: str = ""
    """Prefix that export writes where the module was not imported."""

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes that can be given."""
        return tuple(p.name for p in inspect.signature(self.build).parameters.values() if p.kind == p.KEYWORD_ONLY)


# --- AIM -----------------------------------------------------------------------------------------------------------


def _build_aim(shapes: Shapes, *, num_heads: int | None = None, adapter_scale: float = 0.5) -> AIM:
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


def _aim_sources(module: AIM) -> list[Source]:
    if module.config.stem != "patch" or module.config.frame_difference:
        raise UserError("this AIM has a stem that the published layout has no names for", "aim", "save it as it is")
    return names.clip_vit(module)


# --- CLIP ----------------------------------------------------------------------------------------------------------


def _clip_text_config(shapes: Shapes, prefix: str, num_heads: int | None) -> ClipTextConfig:
    dim = shapes.size(f"{prefix}token_embedding.weight", 1)
    return ClipTextConfig(
        vocab_size=shapes.size(f"{prefix}token_embedding.weight", 0),
        dim=dim,
        depth=shapes.count(f"{prefix}transformer.resblocks.{{}}."),
        num_heads=shapes.heads(dim, num_heads, "text_num_heads"),
        max_positions=shapes.size(f"{prefix}positional_embedding", 0),
        projection_dim=shapes.size(f"{prefix}text_projection", 1),
    )


def _build_clip(
    shapes: Shapes, *, num_heads: int | None = None, text_num_heads: int | None = None, query: str = "sum"
) -> ClipRetriever:
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
            projection_dim=shapes.size("visual.attnpool.c_proj.weight", 0),
        )
    text = _clip_text_config(shapes, "", text_num_heads)
    return ClipRetriever(ClipConfig(image=image, text=text, query=query))  # type: ignore[arg-type]


def _clip_sources(module: ClipRetriever) -> list[Source]:
    if isinstance(module.config.image, ClipResNetConfig):
        visual = below("visual.", "visual.", names.clip_resnet(module.visual))
    else:
        tower = nn.ModuleDict({"vit": module.visual.trunk})  # type: ignore[dict-item]
        trunk = [  # the tower is called trunk where AIM's is called vit
            Source(own=s.own.replace("vit.", "trunk.", 1), published=s.published, dropped=s.dropped)
            for s in names.clip_vit(tower)
        ]
        visual = below("visual.", "visual.", [Source(own="proj", published="proj"), *trunk])
    text = below("text.", "", names.clip_text(module.text))
    combiner = [] if module.combiner is None else below("combiner.", "combiner.", renamed(module.combiner, ()))
    return [Source(own="logit_scale", published="logit_scale"), *visual, *text, *combiner]


# --- BLIP: CoVR, BSE-CoVR, ECDE ------------------------------------------------------------------------------------


def _blip(retriever: type[BlipRetriever], configuration: type[BlipConfig]) -> Callable[..., BlipRetriever]:
    def build(
        shapes: Shapes,
        *,
        num_heads: int | None = None,
        text_num_heads: int | None = None,
        enc_token_id: int | None = None,
        image_size: int | None = None,
        query: str = "multimodal",
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
                query=query,  # type: ignore[arg-type]
            )
        )

    return build


def _positions(own: str) -> Source | None:
    return Source(own=own, published=own, grid=True) if own == "visual_encoder.pos_embed" else None


def _blip_sources(module: BlipRetriever) -> list[Source]:
    return renamed(module, (), _positions)


def _blip_derived(module: BlipRetriever) -> dict[str, Tensor]:
    return {"text_encoder.embeddings.position_ids": torch.arange(module.config.text.max_positions)[None]}


# --- BLIP-2: CoVR-2, TF-CoVR ---------------------------------------------------------------------------------------

WORDS = "Qformer.bert.embeddings.word_embeddings.weight"
DECODER, HEAD_BIAS = "Qformer.cls.predictions.decoder", "Qformer.cls.predictions.bias"


def _qformer_config(shapes: Shapes, num_heads: int | None) -> QFormerConfig:
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


def _qformer_derived(module: QFormer) -> dict[str, Tensor]:
    positions = torch.arange(module.embeddings.position_embeddings.num_embeddings)[None]
    derived = {"Qformer.bert.embeddings.position_ids": positions}
    if module.head.decoder is None:
        derived[f"{DECODER}.weight"] = module.embeddings.word_embeddings.weight
        derived[f"{DECODER}.bias"] = module.head.bias
    return derived


def _build_blip2(
    shapes: Shapes,
    *,
    num_heads: int | None = None,
    text_num_heads: int | None = None,
    image_size: int | None = None,
    query: str = "multimodal",
) -> Blip2Retriever:
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
            query=query,  # type: ignore[arg-type]
        )
    )


def _blip2_sources(module: Blip2Retriever) -> list[Source]:
    qformer = {source.own: source for source in below("qformer.", "", names.qformer(module.qformer))}
    own = renamed(module, (), lambda name: qformer.get(name) or _positions(name))
    return [source for source in own if not source.own.startswith("target_qformer.")]


def _clip_prefix(shapes: Shapes) -> str:
    found = [name for name in shapes.tensors if name.endswith("token_embedding.weight")]
    return found[0].removesuffix("token_embedding.weight") if found else ""


def _build_tf_covr(
    shapes: Shapes, *, text_num_heads: int | None = None, video: AIMConfig | None = None
) -> TFCoVRRetriever:
    text: QFormerConfig | ClipTextConfig
    if WORDS in shapes:
        text = _qformer_config(shapes, text_num_heads)
    elif not _clip_prefix(shapes):
        raise UserError("the file holds neither a Q-Former nor CLIP's text tower", shapes.where, "give a whole file")
    else:
        text = _clip_text_config(shapes, _clip_prefix(shapes), text_num_heads)
    combiner = (shapes.size("combiner.text_projection_layer.weight", 0), shapes.size("combiner.output_layer.weight", 1))
    return TFCoVRRetriever(
        TFCoVRConfig(
            text=text,
            dim=shapes.size("text_proj.weight", 0),
            combiner=combiner,
            video=video,
            clip_prefix=_clip_prefix(shapes),
        )
    )


def _tf_covr_sources(module: TFCoVRRetriever) -> list[Source]:
    text: list[Source] = []
    if module.qformer is not None:
        text += below("qformer.", "", names.qformer(module.qformer))
    if module.clip_text is not None:
        text += below("clip_text.", module.config.clip_prefix, names.clip_text(module.clip_text))
    special = {source.own: source for source in text}
    return [source for source in renamed(module, (), special.get) if not source.own.startswith("video.")]


# --- the combiner alone --------------------------------------------------------------------------------------------


def _build_combiner(shapes: Shapes) -> Combiner:
    return Combiner(
        shapes.size("output_layer.weight", 0),
        shapes.size("text_projection_layer.weight", 0),
        shapes.size("output_layer.weight", 1),
    )


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="aim",
            module=AIM,
            build=_build_aim,
            sources=_aim_sources,
            anchor="temporal_embedding",
            wrapper="state_dict",
            prefix="backbone.",
        ),
        Layout(
            name="openai-clip",
            module=ClipRetriever,
            build=_build_clip,
            sources=_clip_sources,
            anchor="token_embedding.weight",
            wrapper=None,
            fusion=("combiner.",),
        ),
        *(
            Layout(
                name=name,
                module=retriever,
                build=_blip(retriever, configuration),
                sources=_blip_sources,
                anchor="text_encoder.embeddings.word_embeddings.weight",
                fusion=("prompt_proj.", "text_encoder.encoder."),
                derived=_blip_derived,
            )
            for name, retriever, configuration in (
                ("blip", BlipRetriever, BlipConfig),
                ("covr", BlipRetriever, BlipConfig),
                ("bse-covr", BSERetriever, BSEConfig),
                ("ecde", ECDERetriever, ECDEConfig),
            )
        ),
        *(
            Layout(
                name=name,
                module=Blip2Retriever,
                build=_build_blip2,
                sources=_blip2_sources,
                anchor=WORDS,
                fusion=("Qformer.bert.encoder.", "query_tokens", "combiner."),
                derived=lambda module: _qformer_derived(module.qformer),
            )
            for name in ("blip2", "covr2")
        ),
        Layout(
            name="tf-covr",
            module=TFCoVRRetriever,
            build=_build_tf_covr,
            sources=_tf_covr_sources,
            anchor="combiner.output_layer.weight",
            fusion=("combiner.",),
            derived=lambda module: {} if module.qformer is None else _qformer_derived(module.qformer),
        ),
        Layout(
            name="combiner",
            module=Combiner,
            build=_build_combiner,
            sources=lambda module: renamed(module, ()),
            anchor="output_layer.weight",
        ),
    )
}


def find_layout(name: str) -> Layout:
    """The layout of that name.

    Raises:
        UserError: there is none.
    """
    if name not in LAYOUTS:
        raise UserError(f"no layout {name!r}", "layout", f"choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
