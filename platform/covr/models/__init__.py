"""Models: video and text encoders, their fusion, and the retriever that composes them."""

from covr.models.video import (
    AIM,
    ActionClassifier,
    AIMConfig,
    VideoEncoder,
    build_video,
    load_video,
    save_video,
)

__all__ = ["AIM", "AIMConfig", "ActionClassifier", "VideoEncoder", "build_video", "load_video", "save_video"]
