"""CLIP's text tower on transformers: token ids (B, L) to vectors (B, P) of the shared space."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTextConfig:
    """Sizes of `ClipText`; the defaults are those of ViT-B/16 and RN50."""

    vocab_size: int = 49408
    """Byte pairs, with the tokens of start and end as the last two."""
    dim: int = 512
    """Width."""
    depth: int = 12
    """Layers."""
    num_heads: int = 8
    """Attention heads."""
    max_positions: int = 77
    """Longest text, in tokens."""
    projection_dim: int = 512
    """P (1024 with RN50)."""


class ClipText(CLIPTextModelWithProjection):
    """Causal, quick GELU; the state at the end token, which has the highest id of its text, is projected."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__(
            CLIPTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.dim,
                intermediate_size=4 * config.dim,
                num_hidden_layers=config.depth,
                num_attention_heads=config.num_heads,
                max_position_embeddings=config.max_positions,
                projection_dim=config.projection_dim,
                hidden_act="quick_gelu",
                bos_token_id=None,
                eos_token_id=2,  # transformers' name for "the highest id of the text", as OpenAI's code has it
                pad_token_id=0,
            )
        )

    def read(self, input_ids_BL: Tensor) -> Tensor:
        """Vectors (B, P). No mask is needed: nothing behind the end token reaches its state."""
        return self(input_ids_BL).text_embeds
