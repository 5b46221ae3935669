"""Cross-attention fusion of two vectors: text looks at video, video at text, and both are added to a projection.

The alternative to the gated combiner in TF-CoVR's released code. Each side is one token, so that its attention is a
linear map of the other; the published form is kept for its checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossAttentionCombiner(nn.Module):
    """Video and text vectors (B, D) to composed queries (B, D), of unit length.

    Args:
        dim: D.
        num_heads: attention heads; of no effect on the result while each side is one token.
        dropout: after the norm.
    """

    def __init__(self, dim: int, num_heads: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        self.text_to_image_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.image_to_text_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.text_proj = nn.Linear(dim, dim)
        self.image_proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.output_layer = nn.Linear(dim, dim)

    def forward(self, video_BD: Tensor, text_BD: Tensor) -> Tensor:
        video_B1D, text_B1D = video_BD[:, None], text_BD[:, None]
        text_side_B1D, _ = self.text_to_image_attn(text_B1D, video_B1D, video_B1D, need_weights=False)
        video_side_B1D, _ = self.image_to_text_attn(video_B1D, text_B1D, text_B1D, need_weights=False)
        mixed_BD = 0.5 * (text_side_B1D + video_side_B1D).squeeze(1)
        mixed_BD = mixed_BD + self.text_proj(text_BD) + self.image_proj(video_BD)
        return torch.nn.functional.normalize(self.output_layer(self.dropout(self.norm(mixed_BD))), dim=-1)
