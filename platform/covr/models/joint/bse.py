"""BSE-CoVR: a description of the query video is added to every image token before the modification is read.

Thawakar et al., "Beyond Simple Edits: Composed Video Retrieval with Dense Modifications", ICCV 2025.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from covr.errors import UserError
from covr.models.joint.base import Text
from covr.models.joint.blip import BlipConfig, BlipRetriever
from covr.models.sides import DescribedBy, Needs


@dataclass(frozen=True, kw_only=True, slots=True)
class BSEConfig(BlipConfig):
    """Options of `BSERetriever`."""

    description_tokens: int = 256
    """Longest description, in tokens (published: 35 in training, 64 in testing; dense ones run to about 110)."""
    description_token: Literal["cls", "enc"] = "cls"
    """First token of the description: [CLS] as in the published training, or [ENC] as in the published test."""
    described_by: DescribedBy = "given"


class BSERetriever(BlipRetriever):
    """`BlipRetriever` with a projection of the description: the layout `bse-covr`."""

    config: BSEConfig

    def __init__(self, config: BSEConfig) -> None:
        super().__init__(config)
        self.prompt_proj = nn.Linear(config.text.dim, config.image.dim)

    @property
    def needs(self) -> Needs:
        described = self.config.query == "multimodal"
        return replace(
            super().needs,
            query_description="description" if described else None,
            described_by=self.config.described_by,
        )

    def prompt(self, description: Text) -> Tensor:
        """What is added to the image tokens, (B, E)."""
        ids_BL, mask_BL = self.tokenise(description, self.config.description_tokens, "none")
        if self.config.description_token == "enc":
            ids_BL = ids_BL.clone()
            ids_BL[:, 0] = self.config.text.enc_token_id
        return self.prompt_proj(self.text_encoder.read(ids_BL, mask_BL)[:, 0])

    def forward_query(self, frames: Tensor, text: Text, description: Text | None = None) -> Tensor:
        """As `BlipRetriever.forward_query`, with `description` of the query video.

        Raises:
            UserError: no description.
        """
        if self.config.query != "multimodal":
            return super().forward_query(frames, text)
        if description is None:
            raise UserError("this model reads a description of the query video", "description", "give one a query")
        ids_BL, mask_BL = self.tokenise(text, self.config.max_tokens)
        return self.read_with(ids_BL, mask_BL, self.query_tokens(frames) + self.prompt(description)[:, None])
