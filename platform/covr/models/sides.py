"""What each side of a retriever reads, and what turns decoded frames into it.

Shapes: B clips, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from covr.clips.sampling import Sampling

Feature = Literal["pooled", "frames", "tokens"]
"""A kind of row of the features table: of a clip, one vector, one or several a frame, or all tokens."""

Side = Literal["target", "query"]
DescribedBy = Literal["given", "nearest"]
"""Whose text describes a clip: its own, as the data set gives it, or, where nobody wrote one, the training clip's that
the encoder finds nearest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What each side reads."""

    query_feature: Feature | None
    """None: the query is its text alone."""
    query_text: bool
    target_feature: Feature
    query_description: Literal["description", "caption"] | None = None
    """The kind of text about the query clip (a `kind` of the texts table) that the query side reads as well."""
    described_by: DescribedBy = "given"


class Encoder(Protocol):
    """Clips to the features that one side keeps of them: what `embed` runs."""

    @property
    def writes(self) -> tuple[Feature, ...]:
        """The features that it gives."""

    @property
    def sampling(self) -> Sampling:
        """Which frames of a clip it reads."""

    @property
    def resize(self) -> Callable[[Tensor], Tensor]:
        """uint8 frames (B, T, 3, H, W) of any size to uint8 frames (B, T, 3, h, w) of its own; picklable, and free of
        models, because decode workers run it."""

    def fingerprint(self) -> str:
        """Hash of everything that the features depend on."""

    def features(self, frames_BTCHW: Tensor) -> dict[Feature, Tensor]:
        """Resized uint8 frames to what it `writes`, float (B, ...); of `frames`, the second axis is T."""
