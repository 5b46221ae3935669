"""The published layouts: what module their files become, and where its tensors are named."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from covr.checkpoints import builds, names
from covr.checkpoints.names import Source, below, renamed
from covr.errors import UserError
from covr.models.fusion.combiner import Combiner
from covr.models.image.clip import ClipResNetConfig
from covr.models.joint import (
    Blip2Retriever,
    BlipConfig,
    BlipRetriever,
    BSEConfig,
    BSERetriever,
    ClipRetriever,
    ECDEConfig,
    ECDERetriever,
    TFCoVRRetriever,
)
from covr.models.text.qformer import QFormer
from covr.models.video.aim import AIM


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
    def sizes(self) -> dict[str, Any]:
        """Names of the sizes that can be given -> their types."""
        types = get_type_hints(self.build, include_extras=True)
        kinds = inspect.signature(self.build).parameters.values()
        return {kind.name: types[kind.name] for kind in kinds if kind.kind == kind.KEYWORD_ONLY}


# --- AIM -----------------------------------------------------------------------------------------------------------


def _aim_sources(module: AIM) -> list[Source]:
    if module.config.stem != "patch" or module.config.frame_difference:
        raise UserError("this AIM has a stem that the published layout has no names for", "aim", "save it as it is")
    return names.clip_vit(module)


# --- CLIP ----------------------------------------------------------------------------------------------------------


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


def _positions(own: str) -> Source | None:
    return Source(own=own, published=own, grid=True) if own == "visual_encoder.pos_embed" else None


def _blip_sources(module: BlipRetriever) -> list[Source]:
    return renamed(module, (), _positions)


def _blip_derived(module: BlipRetriever) -> dict[str, Tensor]:
    return {"text_encoder.embeddings.position_ids": torch.arange(module.config.text.max_positions)[None]}


# --- BLIP-2: CoVR-2, TF-CoVR ---------------------------------------------------------------------------------------


def _qformer_derived(module: QFormer) -> dict[str, Tensor]:
    positions = torch.arange(module.embeddings.position_embeddings.num_embeddings)[None]
    derived = {"Qformer.bert.embeddings.position_ids": positions}
    if module.head.decoder is None:
        derived[f"{builds.DECODER}.weight"] = module.embeddings.word_embeddings.weight
        derived[f"{builds.DECODER}.bias"] = module.head.bias
    return derived


def _blip2_sources(module: Blip2Retriever) -> list[Source]:
    qformer = {source.own: source for source in below("qformer.", "", names.qformer(module.qformer))}
    own = renamed(module, (), lambda name: qformer.get(name) or _positions(name))
    return [source for source in own if not source.own.startswith("target_qformer.")]


def _tf_covr_sources(module: TFCoVRRetriever) -> list[Source]:
    text: list[Source] = []
    if module.qformer is not None:
        text += below("qformer.", "", names.qformer(module.qformer))
    if module.clip_text is not None:
        text += below("clip_text.", module.config.clip_prefix, names.clip_text(module.clip_text))
    special = {source.own: source for source in text}
    return [source for source in renamed(module, (), special.get) if not source.own.startswith("video.")]


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="aim",
            module=AIM,
            build=builds.aim,
            sources=_aim_sources,
            anchor="temporal_embedding",
            wrapper="state_dict",
            prefix="backbone.",
        ),
        Layout(
            name="openai-clip",
            module=ClipRetriever,
            build=builds.clip,
            sources=_clip_sources,
            anchor="token_embedding.weight",
            wrapper=None,
            fusion=("combiner.",),
        ),
        *(
            Layout(
                name=name,
                module=retriever,
                build=builds.blip(retriever, configuration),
                sources=_blip_sources,
                anchor="text_encoder.embeddings.word_embeddings.weight",
                fusion=("prompt_proj.", "text_encoder.encoder.", "combiner."),
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
                build=builds.blip2,
                sources=_blip2_sources,
                anchor=builds.WORDS,
                fusion=("Qformer.bert.encoder.", "query_tokens", "combiner."),
                derived=lambda module: _qformer_derived(module.qformer),
            )
            for name in ("blip2", "covr2")
        ),
        Layout(
            name="tf-covr",
            module=TFCoVRRetriever,
            build=builds.tf_covr,
            sources=_tf_covr_sources,
            anchor="combiner.output_layer.weight",
            fusion=("combiner.",),
            derived=lambda module: {} if module.qformer is None else _qformer_derived(module.qformer),
        ),
        Layout(
            name="combiner",
            module=Combiner,
            build=builds.combiner,
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
