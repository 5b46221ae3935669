"""Video encoders in and out of folders, and where their first weights come from."""

from __future__ import annotations

import os

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError, HfHubHTTPError, LocalEntryNotFoundError
from omegaconf import DictConfig
from timm.models.vision_transformer import checkpoint_filter_fn

from covr.config.compose import build
from covr.errors import UserError
from covr.models import folder
from covr.models.video.aim import AIM, AIMConfig
from covr.models.video.encoder import VideoEncoder, settings
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
    encoder = AIM(AIMConfig(**config["config"]))
    folder.load_exactly(encoder, state, str(place))
    return encoder.eval()


def build_video(cfg_model: DictConfig) -> VideoEncoder:
    """A new encoder as `model.video` and `model.init` say; random parts follow torch's global seed.

    `init` is `scratch` (random), `backbone` (the weights shipped for aim-tiny) or `pretrained` (CLIP's image
    weights at `model.video.weights`, adapters at their start).

    Raises:
        UserError: weights that are not there or do not fit.
    """
    encoder = AIM(build(cfg_model.video))
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
    folder.load_exactly(encoder, folder.read_weights(weights), "model.init=backbone is for model/video=aim-tiny")


def _load_clip(encoder: AIM) -> None:
    source = encoder.config.weights
    if source is None:
        raise UserError(
            "CLIP's image weights are needed",
            "model.video.weights",
            "give a safetensors file, or a hub id such as timm/vit_base_patch16_clip_quickgelu_224.openai",
        )
    state = folder.read_weights(find_weights(source, "model.video.weights"))
    state = {name: tensor.float() for name, tensor in checkpoint_filter_fn(state, encoder.vit).items()}
    own = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}  # 768 -> 512, unused
    with torch.no_grad():
        folder.load_exactly(encoder.vit, own, source, optional=("adapter",))


def find_weights(source: str, option: str) -> Place:
    """The safetensors file that a path, a folder or a hub id names; a hub id is fetched once and cached.

    Raises:
        UserError: nothing there.
    """
    place = Place(source)
    if place.is_dir():
        place /= "model.safetensors"
    if place.exists():
        return place
    if source.count("/") == 1 and not source.startswith((".", "/")):
        try:
            return Place(hf_hub_download(source, "model.safetensors"))
        except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"the hub gave no weights ({reason})", f"{option}={source}", "give a local file") from None
    raise UserError("no weights there", f"{option}={source}", "give a safetensors file, a folder or a hub id")


def _card(encoder: VideoEncoder) -> str:
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
