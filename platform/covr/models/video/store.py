"""Video encoders in and out of folders, and where their first weights come from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig
from timm.models.vision_transformer import checkpoint_filter_fn

from covr.checkpoints.reader import read_checkpoint
from covr.config.compose import build
from covr.errors import UserError
from covr.models import folder
from covr.models.video.aim import AIM, AIMConfig
from covr.models.video.encoder import VideoEncoder, settings
from covr.models.video.frames import FrameEncoder, FramesConfig
from covr.models.video.stored import Stored, StoredConfig, contents
from covr.models.weights import find_weights
from covr.storage import Place

BACKBONE = Place(os.path.dirname(__file__)) / "weights"
"""The shipped stage-1 weights, with the command, the seed and the hash of their training."""


def save_video(encoder: VideoEncoder, place: Place) -> None:
    """Write config.json, weights.safetensors and a model card into the folder `place`."""
    config = {"kind": "video encoder", "config": settings(encoder.config), "fingerprint": encoder.fingerprint()}
    folder.write(place, config, encoder, _card(encoder))


def load_video(place: Place) -> VideoEncoder:
    """The encoder of a folder that `save_video` wrote, in evaluation mode.

    Raises:
        UserError: no such folder, or a damaged one.
    """
    config, state = folder.read(place, "video encoder")
    encoder = restore_video(config["config"], str(place))
    folder.load_exactly(encoder, state, str(place))
    return encoder.eval()


def restore_video(config: Mapping[str, Any], where: str) -> VideoEncoder:
    """An encoder, without its weights, from the configuration in a written folder."""
    if "contents" in config:
        return Stored(folder.restore(StoredConfig, config, where))
    if "alone" in config:
        return FrameEncoder(folder.restore(FramesConfig, config, where))
    return AIM(folder.restore(AIMConfig, config, where))


def build_video(cfg_model: DictConfig) -> AIM | Stored:
    """A new encoder as `model.video` and `model.init` say; random parts follow torch's global seed.

    `init` is `scratch` (random), `backbone` (the weights shipped for aim-tiny) or `pretrained` (CLIP's image
    weights at `model.video.weights`, adapters at their start). With model/video=stored there is nothing to start.

    Raises:
        UserError: weights that are not there or do not fit.
    """
    config = build(cfg_model.video)
    if isinstance(config, StoredConfig):
        return Stored(replace(config, contents=contents(config.files)))
    if cfg_model.init == "pretrained" and config.weights is None:  # before a network is built, which takes a while
        raise UserError(
            "CLIP's image weights are needed",
            "model.video.weights",
            "give a checkpoint file, or a hub id such as timm/vit_base_patch16_clip_quickgelu_224.openai",
        )
    encoder = FrameEncoder(config) if isinstance(config, FramesConfig) else AIM(config)
    match cfg_model.init:
        case "scratch":
            pass
        case "backbone":
            _load_backbone(encoder)
        case "pretrained":
            _load_clip(encoder)
        case other:
            raise UserError(f"unknown start {other!r}", "model.init", "choose scratch, backbone or pretrained")
    return encoder


def _load_backbone(encoder: AIM) -> None:
    weights, record = BACKBONE / "aim-tiny.safetensors", BACKBONE / "aim-tiny.json"
    if not (weights.exists() and record.exists()):
        raise UserError("the shipped backbone is not there", str(weights), "use model.init=scratch")
    if weights.sha256() != record.read_json()["sha256"]:
        raise UserError("the shipped backbone has another hash than recorded", str(weights), "install covr again")
    state = read_checkpoint(weights).tensors
    folder.load_exactly(encoder, state, "model.init=backbone is for model/video=aim-tiny")


def _load_clip(encoder: AIM) -> None:
    source = encoder.config.weights
    assert source is not None  # asked before
    published = read_checkpoint(find_weights(source, "model.video.weights")).tensors
    state = checkpoint_filter_fn(published, encoder.vit)  # OpenAI's and timm's names to timm's
    state = {name: tensor.float() for name, tensor in state.items() if not name.startswith("head.")}
    folder.load_exactly(encoder.vit, state, source, optional=("adapter",))


def _card(encoder: VideoEncoder) -> str:
    if isinstance(encoder, Stored):
        c = encoder.config
        return f"# Vectors made elsewhere\n\n{c.source}: {c.dim} values a clip. Fingerprint {encoder.fingerprint()}.\n"
    c = encoder.config
    size = sum(parameter.numel() for parameter in encoder.parameters())
    return f"""---
library_name: covr
tags: [video-retrieval, action-recognition]
---
# AIM video encoder

{size:,} parameters; reads {c.num_frames} {c.sampling} frames of {c.image_size} x {c.image_size} pixels and gives one
raw vector of {c.dim} values a frame; their mean is the clip's.

    from covr.models import load_video
    from covr.storage import Place
    encoder = load_video(Place("."))

Architecture: AIM (Yang et al., ICLR 2023). Fingerprint {encoder.fingerprint()}.
"""
