"""Retrievers that are one multimodal model: picture and text meet inside it."""

from covr.models.joint.base import JointRetriever
from covr.models.joint.blip import BlipConfig, BlipRetriever
from covr.models.joint.blip2 import Blip2Config, Blip2Retriever
from covr.models.joint.bse import BSEConfig, BSERetriever
from covr.models.joint.clip import ClipConfig, ClipRetriever
from covr.models.joint.ecde import ECDEConfig, ECDERetriever
from covr.models.joint.tf_covr import TFCoVRConfig, TFCoVRRetriever

__all__ = [
    "BSEConfig",
    "BSERetriever",
    "Blip2Config",
    "Blip2Retriever",
    "BlipConfig",
    "BlipRetriever",
    "ClipConfig",
    "ClipRetriever",
    "ECDEConfig",
    "ECDERetriever",
    "JointRetriever",
    "TFCoVRConfig",
    "TFCoVRRetriever",
]
