"""ECDE: the query mixes the modification's reading of the picture with that of the source caption.

Thawakar et al., "Composed Video Retrieval via Enriched Context and Discriminative Embeddings", CVPR 2024. Trained
against two targets, the picture's and a multimodal one, in the same shares (`covr.losses.WeightedTargets`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from covr.models.joint.base import Text
from covr.models.joint.blip import BlipConfig, BlipRetriever
from covr.models.sides import DescribedBy, Needs


@dataclass(frozen=True, kw_only=True, slots=True)
class ECDEConfig(BlipConfig):
    """Options of `ECDERetriever`."""

    description_tokens: int = 256
    """Longest source caption, in tokens."""
    description_share: float = 0.2
    """Share of the caption's reading in the query."""
    caption_in: Literal["training and testing", "training"] = "training and testing"
    """Where the query reads the caption; in `training` only as published, whose test leaves it out."""
    described_by: DescribedBy = "given"


class ECDERetriever(BlipRetriever):
    """`BlipRetriever` that also reads the source caption: the layout `ecde`."""

    config: ECDEConfig

    @property
    def needs(self) -> Needs:
        described = self.config.query == "multimodal" and (self.training or self.config.caption_in != "training")
        return replace(
            super().needs, query_description="caption" if described else None, described_by=self.config.described_by
        )

    def forward_query(self, frames: Tensor, text: Text, description: Text | None = None) -> Tensor:
        """(B, P): of unit length without a caption, shorter with one (the mix is not normalised again, as published).

        Args:
            frames, text: as for `BlipRetriever.forward_query`.
            description: captions of the query videos; None leaves them out.
        """
        if description is None or self.needs.query_description is None:
            return super().forward_query(frames, text)
        tokens_BNE = self.query_tokens(frames)
        modification_BP = self.read_with(*self.tokenise(text, self.config.max_tokens), tokens_BNE)
        caption_BP = self.read_with(*self.tokenise(description, self.config.description_tokens, "none"), tokens_BNE)
        share = self.config.description_share
        return (1 - share) * modification_BP + share * caption_BP

    def forward(
        self,
        query: Tensor,
        texts: Text,
        target: Tensor,
        descriptions: Text | None = None,
        scores: Tensor | None = None,
        target_descriptions: Text | None = None,
    ) -> tuple[Tensor, ...]:
        """As every joint model's, and the second target (B, P) where the targets' descriptions are given."""
        found = super().forward(query, texts, target, descriptions, scores)
        if target_descriptions is None:
            return found
        return (*found, self.multimodal_target(target[:, :, None], target_descriptions))

    def multimodal_target(self, tokens_BTNE: Tensor, description: Text) -> Tensor:
        """The second target (B, P): the target's description read with the tokens of all its frames."""
        ids_BL, mask_BL = self.tokenise(description, self.config.description_tokens, "none")
        return self.read_with(ids_BL, mask_BL, tokens_BTNE.flatten(1, 2))
