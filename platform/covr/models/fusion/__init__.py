"""Fusion: a query's video vector and text vector become one."""

from covr.models.fusion.combiner import Combiner
from covr.models.fusion.kinds import Fusion, FusionConfig, Kind, build_fusion

__all__ = ["Combiner", "Fusion", "FusionConfig", "Kind", "build_fusion"]
