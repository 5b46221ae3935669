"""BLIP's text encoder, with and without cross-attention to image tokens (MED).

Li et al., "BLIP: Bootstrapping Language-Image Pre-training", ICML 2022. BERT's shape without token types and pooler,
a cross-attention in every layer, and two more tokens: [DEC] and [ENC], whose state is the multimodal feature.

Shapes: B texts, L text tokens, N image tokens, D text width, E image width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers import BlipTextConfig, BlipTextModel


@dataclass(frozen=True, kw_only=True, slots=True)
class MEDConfig:
    """Sizes of `MED`; the defaults are BLIP's."""

    vocab_size: int = 30524
    """bert-base-uncased (30522) and [DEC], [ENC]."""
    dim: int = 768
    """D, the width."""
    depth: int = 12
    """Layers."""
    num_heads: int = 12
    """Attention heads."""
    ffn_dim: int = 3072
    """Width of the hidden layer of the feed-forward part."""
    max_positions: int = 512
    """Longest text, in tokens."""
    image_dim: int = 1024
    """E, the width of the image tokens."""
    dropout: float = 0.1
    """Of hidden states and of attention, in training mode."""
    enc_token_id: int = 30523
    """[ENC]; takes the place of [CLS] where text and image are read together."""


class MED(BlipTextModel):
    """Token ids and their mask (B, L) to hidden states (B, L, D)."""

    def __init__(self, config: MEDConfig) -> None:
        super().__init__(
            BlipTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.dim,
                encoder_hidden_size=config.image_dim,
                intermediate_size=config.ffn_dim,
                num_hidden_layers=config.depth,
                num_attention_heads=config.num_heads,
                max_position_embeddings=config.max_positions,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
                bos_token_id=None,
                sep_token_id=None,
                is_decoder=True,  # transformers' name for "has cross-attention"
                attn_implementation="eager",  # type: ignore[call-arg]  # the only one that BLIP's layers have
            ),
            add_pooling_layer=False,
        )
        self.enc_token_id = config.enc_token_id

    def read(self, input_ids_BL: Tensor, attention_mask_BL: Tensor) -> Tensor:
        """Text alone: no cross-attention."""
        return self(input_ids_BL, attention_mask=attention_mask_BL).last_hidden_state

    def read_with(self, input_ids_BL: Tensor, attention_mask_BL: Tensor, image_BNE: Tensor) -> Tensor:
        """Text and image: [ENC] takes the first position, every layer attends to all image tokens."""
        input_ids_BL = input_ids_BL.clone()
        input_ids_BL[:, 0] = self.enc_token_id
        return self(input_ids_BL, attention_mask=attention_mask_BL, encoder_hidden_states=image_BNE).last_hidden_state
