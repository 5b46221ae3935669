"""Several frame vectors of a target become one (CoVR's `emb_pool`)."""

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
            a frame that is not there.
    """
    if pooling == "middle":
        return frames_BTD[:, frames_BTD.shape[1] // 2]
    if pooling == "mean" or scores_BT is None:
        return frames_BTD.mean(dim=1)
    logits_BT = torch.nan_to_num(scores_BT / SCORE_TEMPERATURE, nan=-torch.inf)
    weights_BT = logits_BT.softmax(dim=1).to(frames_BTD.dtype)
    return torch.einsum("bt,bt...->b...", weights_BT, frames_BTD)
