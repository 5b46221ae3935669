"""Several frame vectors of a target become one (CoVR's `emb_pool`).

A frame of NaN is not there: clips shorter than the frames asked for have fewer.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["scores", "mean", "middle"]

SCORE_TEMPERATURE = 0.1  # of the softmax over the frames' scores, as published


def pool_frames(frames_BTD: Tensor, pooling: Pooling, scores_BT: Tensor | None = None) -> Tensor:
    """Frame vectors (B, T, ...) to one (B, ...).

    Args:
        pooling: `scores` weighs frame t by softmax(scores / 0.1), equally where there are no scores; `mean`; or
            `middle`, frame T // 2.
        scores_BT: similarity of each frame to the modification text, from the triplets' `target_weights`; NaN for
            a frame that is not there, or throughout a row without scores.
    """
    there_BT = ~frames_BTD.flatten(2).isnan().any(dim=2)
    if pooling == "middle":
        return frames_BTD[torch.arange(len(frames_BTD), device=frames_BTD.device), there_BT.sum(dim=1) // 2]
    if pooling == "mean" or scores_BT is None:
        return mean_frames(frames_BTD)
    scored_BT = there_BT & ~scores_BT.isnan()
    logits_BT = (scores_BT / SCORE_TEMPERATURE).masked_fill(~scored_BT, -torch.inf)
    logits_BT = torch.where(scored_BT.any(dim=1, keepdim=True), logits_BT, _log(there_BT))
    return _weighted(frames_BTD, logits_BT)


def mean_frames(frames_BTD: Tensor) -> Tensor:
    """The mean of the frames that are there, (B, ...)."""
    return _weighted(frames_BTD, _log(~frames_BTD.flatten(2).isnan().any(dim=2)))


def _log(there_BT: Tensor) -> Tensor:
    return torch.zeros(there_BT.shape, device=there_BT.device).masked_fill(~there_BT, -torch.inf)


def _weighted(frames_BTD: Tensor, logits_BT: Tensor) -> Tensor:
    weights_BT = logits_BT.softmax(dim=1).to(frames_BTD.dtype)
    return torch.einsum("bt,bt...->b...", weights_BT, frames_BTD.nan_to_num())
