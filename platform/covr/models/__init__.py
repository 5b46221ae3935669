"""Models: video and text encoders, their fusion, and the retriever that composes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covr.models.build import build_retriever
from covr.models.fusion import Combiner, FusionConfig, build_fusion
from covr.models.retriever import ComposedRetriever, RetrieverConfig
from covr.models.text import TextConfig, TextEncoder, build_text
from covr.models.video import (
    AIM,
    ActionClassifier,
    AIMConfig,
    VideoEncoder,
    build_video,
    load_video,
    save_video,
)

if TYPE_CHECKING:
    from covr.checkpoints.published import load_published, save_published

__all__ = [
    "AIM",
    "AIMConfig",
    "ActionClassifier",
    "Combiner",
    "ComposedRetriever",
    "FusionConfig",
    "RetrieverConfig",
    "TextConfig",
    "TextEncoder",
    "VideoEncoder",
    "build_fusion",
    "build_retriever",
    "build_text",
    "build_video",
    "load_published",
    "load_video",
    "save_published",
    "save_video",
]


def __getattr__(name: str) -> Any:
    """`load_published` and `save_published` on first use: they need every model, most users need one."""
    if name in ("load_published", "save_published"):
        from covr.checkpoints import published

        return getattr(published, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
