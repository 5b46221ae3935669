"""The gated MLP combiner of a video vector and a text vector.

Baldrati et al., "Effective Conditioned and Composed Image Retrieval Combining CLIP-Based Features", CVPR 2022; in
the form in which TF-CoVR uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Combiner(nn.Module):
    """L2(r + g * text + (1 - g) * video): a residual r and a gate g in (0, 1), both read from the two inputs.

    Names of the parameters are the published ones.

    Args:
        dim: D, of both inputs and of the output.
        projection_dim: to which each input is projected first; None: the inputs are read as they are, as in CoVR's
            late fusion.
        hidden_dim: of the hidden layers of residual and gate.
        dropout: after every hidden layer (published: 0.5).
    """

    def __init__(self, dim: int, projection_dim: int | None, hidden_dim: int, dropout: float = 0.5) -> None:
        super().__init__()
        projects = projection_dim is not None
        projection_dim = dim if projection_dim is None else projection_dim
        self.text_projection_layer = nn.Linear(dim, projection_dim) if projects else None
        self.image_projection_layer = nn.Linear(dim, projection_dim) if projects else None
        self.combiner_layer = nn.Linear(2 * projection_dim, hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, dim)
        self.dynamic_scalar = nn.Sequential(
            nn.Linear(2 * projection_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, 1),
            nn.Sigmoid(),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, video: Tensor, text: Tensor) -> Tensor:
        """Unit vectors (B, D).

        Args:
            video: (B, D), as the retriever gives it (published: raw).
            text: (B, D), unit length.
        """
        both = self._read(video, text)
        residual = self.output_layer(self.dropout(self.combiner_layer(both).relu()))
        gate = self.dynamic_scalar(both)
        return nn.functional.normalize(residual + gate * text + (1 - gate) * video, dim=-1)

    def gate(self, video: Tensor, text: Tensor) -> Tensor:
        """g (B,), the weight of the text."""
        return self.dynamic_scalar(self._read(video, text)).squeeze(-1)

    def _read(self, video: Tensor, text: Tensor) -> Tensor:
        if self.text_projection_layer is not None and self.image_projection_layer is not None:
            text = self.dropout(self.text_projection_layer(text).relu())
            video = self.dropout(self.image_projection_layer(video).relu())
        return torch.cat([text, video], dim=-1)  # text first, as published
