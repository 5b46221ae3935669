"""Video encoders: frames of a clip to raw vectors."""

from covr.models.video.aim import AIM, AIMConfig
from covr.models.video.classifier import ActionClassifier
from covr.models.video.encoder import VideoEncoder
from covr.models.video.store import build_video, load_video, save_video

__all__ = ["AIM", "AIMConfig", "ActionClassifier", "VideoEncoder", "build_video", "load_video", "save_video"]
