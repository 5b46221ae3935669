"""One side of a joint model as an encoder of clips: what `embed` runs and the features table keeps.

Shapes: B clips, T frames, H x W pixels.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from covr.clips import Sampling
from covr.clips.resize import Stretch
from covr.models.sides import Feature
from covr.models.video.encoder import module_fingerprint

if TYPE_CHECKING:
    from covr.models.joint.base import JointRetriever


class JointEncoder(nn.Module):
    """The picture side of a joint model, for its queries or for its targets.

    Two sides that read the same frames in the same way have the same fingerprint, and so share a features table.
    """

    def __init__(self, retriever: JointRetriever, side: Literal["query", "target"]) -> None:
        super().__init__()
        self.retriever, self.side = retriever, side

    @property
    def writes(self) -> tuple[Feature, ...]:
        """The one feature that the side needs."""
        needs = self.retriever.needs
        feature = needs.query_feature if self.side == "query" else needs.target_feature
        return () if feature is None else (feature,)

    @property
    def sampling(self) -> Sampling:
        """Which frames of a clip the side reads."""
        return self.retriever.query_sampling if self.side == "query" else self.retriever.target_sampling

    @property
    def resize(self) -> Stretch:
        """uint8 frames of any size to the model's square ones."""
        return self.retriever.resize

    @property
    def colours(self) -> Literal["rgb", "bgr"]:
        """Order of the channels in which the side reads frames."""
        return "rgb" if self.side == "query" else self.retriever.config.target_colours

    def fingerprint(self) -> str:
        """Hash of the frames taken, of how they are read, and of the modules that they go through."""
        names = self.retriever.query_parts if self.side == "query" else self.retriever.target_parts
        parts = nn.ModuleDict({name: getattr(self.retriever, name) for name in names})
        identity = (type(self.retriever).__name__, self.writes, asdict(self.sampling), self.colours)
        return module_fingerprint(parts, *identity, asdict(self.retriever.config.image))

    def features(self, frames_BTCHW: Tensor) -> dict[Feature, Tensor]:
        """uint8 frames to the side's feature."""
        pixels_BTCHW = self.retriever.preprocess(frames_BTCHW, self.colours)
        embed = self.retriever.query_features if self.side == "query" else self.retriever.target_features
        return {self.writes[0]: embed(pixels_BTCHW)}
