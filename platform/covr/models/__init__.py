"""Models: video and text encoders, their fusion, and the retriever that composes them."""

from covr.models.fusion import Combiner, FusionConfig, build_fusion
from covr.models.retriever import ComposedRetriever, RetrieverConfig, build_retriever
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
    "load_video",
    "save_video",
]
