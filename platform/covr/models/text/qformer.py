"""BLIP-2's Q-Former: a BERT that reads a text, pictures through learned queries, or both.

Li et al., "BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language Models",
ICML 2023. Queries and text share the self-attention (fully bidirectional); cross-attention to the image tokens, in
every second layer, is for the queries alone, which also have a feed-forward part of their own.

Shapes: B texts, L text tokens, Q queries, N image tokens, D width, E image width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel
from transformers.models.blip_2.modeling_blip_2 import Blip2TextEmbeddings


@dataclass(frozen=True, kw_only=True, slots=True)
class QFormerConfig:
    """Sizes of `QFormer`; the defaults are BLIP-2's."""

    vocab_size: int = 30523
    """bert-base-uncased (30522) and [DEC]."""
    dim: int = 768
    """D, the width."""
    depth: int = 12
    """Layers."""
    num_heads: int = 12
    """Attention heads."""
    ffn_dim: int = 3072
    """Width of the hidden layer of the feed-forward parts."""
    max_positions: int = 512
    """Longest text, in tokens."""
    num_queries: int = 32
    """Q, learned queries."""
    image_dim: int = 1408
    """E, the width of the image tokens."""
    cross_attention_every: int = 2
    """Layers from one cross-attention to the next, the first layer having one."""
    dropout: float = 0.1
    """Of hidden states and of attention, in training mode."""
    tied_head: bool = True
    """Whether the language-model head shares the word embeddings, as published."""


class LanguageHead(nn.Module):
    """The head for language modelling: in every published file, never used for retrieval."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder = None if config.tied_head else nn.Linear(config.dim, config.vocab_size)


class QFormer(nn.Module):
    """Texts, image tokens, or both, to hidden states."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        sizes = Blip2QFormerConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.num_heads,
            intermediate_size=config.ffn_dim,
            max_position_embeddings=config.max_positions,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
            encoder_hidden_size=config.image_dim,
            cross_attention_frequency=config.cross_attention_every,
            use_qformer_text_input=True,
            attn_implementation="sdpa",  # type: ignore[call-arg]
        )
        self.embeddings = Blip2TextEmbeddings(sizes)
        self.bert = Blip2QFormerModel(sizes)
        self.head = LanguageHead(config)
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_queries, config.dim))
        for table in (self.embeddings.word_embeddings.weight, self.embeddings.position_embeddings.weight):
            nn.init.normal_(table, std=sizes.initializer_range)
        nn.init.normal_(self.query_tokens, std=sizes.initializer_range)

    def read(self, input_ids_BL: Tensor, attention_mask_BL: Tensor) -> Tensor:
        """Text alone, to (B, L, D)."""
        embedded = self.embeddings(input_ids=input_ids_BL)
        return self.bert(query_embeds=embedded, query_length=0, attention_mask=attention_mask_BL).last_hidden_state

    def look(self, image_BNE: Tensor) -> Tensor:
        """Image alone, to the queries' states (B, Q, D)."""
        queries = self.query_tokens.expand(image_BNE.shape[0], -1, -1)
        return self.bert(query_embeds=queries, encoder_hidden_states=image_BNE).last_hidden_state

    def read_with(self, input_ids_BL: Tensor, attention_mask_BL: Tensor, image_BNE: Tensor) -> Tensor:
        """Text and image, to (B, Q + L, D), queries first."""
        queries = self.query_tokens.expand(image_BNE.shape[0], -1, -1)
        seen = attention_mask_BL.new_ones(queries.shape[:2])
        return self.bert(
            query_embeds=self.embeddings(input_ids=input_ids_BL, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=torch.cat([seen, attention_mask_BL], dim=1),
            encoder_hidden_states=image_BNE,
        ).last_hidden_state

    def freeze_like_published(self) -> None:
        """Leave trainable what TF-CoVR's text variant trains: positions, their norm, self-attention, text FFN.

        Word embeddings stay frozen there because they are tied to the frozen head.
        """
        frozen = ("query_tokens", "_query.", "crossattention.", "head.", "word_embeddings.")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not any(part in name for part in frozen))
