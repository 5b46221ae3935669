"""Joint models out of configurations and folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from pydantic import TypeAdapter
from torch import Tensor

from covr.checkpoints.published import fill_published
from covr.config.compose import build
from covr.errors import UserError
from covr.models import folder
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
    JointRetriever,
    TFCoVRConfig,
    TFCoVRRetriever,
)
from covr.models.video import VideoEncoder

CONFIGS: dict[type[Any], type] = {
    BlipRetriever: BlipConfig,
    BSERetriever: BSEConfig,
    ECDERetriever: ECDEConfig,
    Blip2Retriever: Blip2Config,
    ClipRetriever: ClipConfig,
    TFCoVRRetriever: TFCoVRConfig,
}


def build_joint(cfg_model: DictConfig) -> JointRetriever:
    """The joint model that `model` describes, with the published weights at `model.ckpt.path`.

    A TF-CoVR model takes its video encoder from `model.ckpt.video`, a published AIM file.

    `model.ckpt.fresh` names the parts that may start at random; `model.init=scratch` starts all of it at random.

    Raises:
        UserError: no weights given, or weights that do not fit.
    """
    if cfg_model.init == "scratch":
        return _new(cfg_model)
    if cfg_model.ckpt.path is None:  # before a network is built, which may take minutes
        raise UserError(
            f"the weights of {cfg_model.name} are needed",
            "model.ckpt.path",
            f"give a published checkpoint of the layout {cfg_model.layout}",
        )
    retriever = _new(cfg_model)
    fill_published(retriever, cfg_model.layout, cfg_model.ckpt.path, fresh=cfg_model.fresh)
    if isinstance(retriever, TFCoVRRetriever) and retriever.video is not None:
        if cfg_model.ckpt.video is None:
            raise UserError(
                "the AIM encoder behind the video vectors is needed", "model.ckpt.video", "give its published file"
            )
        fill_published(retriever.video, "aim", cfg_model.ckpt.video)
    if isinstance(retriever, Blip2Retriever):
        retriever.fix_targets()
    return retriever


def joint_on_video(cfg_model: DictConfig, video: VideoEncoder) -> JointRetriever:
    """The joint model that `model` describes around a trained stage-1 encoder; the rest of it is random.

    Raises:
        UserError: the encoder is not the one that `model.joint.image` describes.
    """
    retriever = _new(cfg_model)
    folder.load_exactly(retriever.visual_encoder, video.state_dict(), "model.joint.image is for another encoder")
    return retriever


def _new(cfg_model: DictConfig) -> JointRetriever:
    config = build(cfg_model.joint)
    kind = next(kind for kind, configuration in CONFIGS.items() if type(config) is configuration)
    return kind(config)


def restore_joint(config: Mapping[str, Any], state: Mapping[str, Tensor], where: str) -> JointRetriever:
    """The joint model of a folder's configuration and weights, in evaluation mode.

    Raises:
        UserError: a kind that is not known, or weights that do not fit.
    """
    kind = next((kind for kind in CONFIGS if kind.__name__ == config["joint"]), None)
    if kind is None:
        raise UserError(f"no joint model {config['joint']!r}", where, "use the version of covr that wrote it")
    retriever = kind(TypeAdapter(CONFIGS[kind]).validate_python(config["config"]))
    folder.load_exactly(retriever, state, where)
    return retriever.eval()
