"""A new composed retriever from its configuration."""

from __future__ import annotations

from dataclasses import replace

from omegaconf import DictConfig

from covr.config.compose import build
from covr.models.fusion import FusionConfig, Kind, build_fusion
from covr.models.retriever import ComposedRetriever, RetrieverConfig
from covr.models.text import build_text
from covr.models.video.encoder import VideoEncoder


def build_retriever(cfg_model: DictConfig, video: VideoEncoder, fusion: Kind | None = None) -> ComposedRetriever:
    """A new retriever as `model` says, around a trained video encoder, which is frozen.

    Args:
        cfg_model: the `model` node.
        video: the encoder of both sides.
        fusion: in place of the configured kind, with the configured sizes: what the single-modality rows train.

    Raises:
        UserError: text weights that are not given or not there.
    """
    config: FusionConfig = build(cfg_model.fusion)
    module = build_fusion(replace(config, kind=fusion) if fusion else config, video.dim)
    text = build_text(build(cfg_model.text), video.dim) if module.needs_text else None
    prepared = RetrieverConfig(
        center=cfg_model.center,
        query_video=cfg_model.query_video,
        query_frames=cfg_model.get("query_frames", "all"),
        head=cfg_model.get("head"),
        expand=cfg_model.get("expand"),
    )
    return ComposedRetriever(prepared, video.requires_grad_(False), text, module)
