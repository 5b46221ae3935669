"""A trained residual head on frozen video vectors."""

from __future__ import annotations

from torch import Tensor, nn


class VideoHead(nn.Module):
    """x + W2 relu(W1 x / |x|) |x|: what the video vectors lack of the space that queries are compared in.

    At the start W2 is zero, so that training begins where the frozen vectors are.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, video_BD: Tensor) -> Tensor:
        length_B1 = video_BD.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return video_BD + length_B1 * self.outer(self.inner(video_BD / length_B1).relu())
