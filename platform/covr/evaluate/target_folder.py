"""Target vectors from CoVR's folders of frame vectors: one file a video, pooled as `data.emb_pool` says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from covr.checkpoints.vectors import vectors
from covr.errors import UserError
from covr.models.joint.pooling import Pooling, pool_frames
from covr.storage import Place

POOLINGS: dict[str, Pooling] = {"query": "scores", "mean": "mean", "middle": "middle"}
"""CoVR's names of the poolings."""


def read_targets(place: Place, triplets: pa.Table, pooling: str) -> np.ndarray:
    """(Q, D) the vector of each query's annotated target, float32, of unit length.

    Args:
        place: a folder of `<target>.pth` with (T, D) or (T, N, D) frame vectors; N tokens become their mean.
        triplets: their target_weights are the scores of pooling `query`; where there are none, or as many as there
            are not frames, every frame counts the same, as published.

    Raises:
        UserError: an unknown pooling, a target without a file, or a vector of zero length.
    """
    if pooling not in POOLINGS:
        raise UserError("no such pooling", f"data.emb_pool={pooling}", f"choose one of {', '.join(POOLINGS)}")
    targets = [clips[0] for clips in triplets["target_clips"].to_pylist()]
    frames = dict(vectors(place, set(targets)))
    if missing := sorted(set(targets) - frames.keys()):
        raise UserError(f"{len(missing)} targets have no vectors", f"{place}: {missing[0]}", "embed them too")
    pooled = []
    for target, scores in zip(targets, triplets["target_weights"].to_pylist(), strict=True):
        frames_TD = torch.from_numpy(np.atleast_2d(frames[target]))
        fits = scores is not None and len(scores) == len(frames_TD)
        vector = pool_frames(frames_TD[None], POOLINGS[pooling], torch.tensor([scores]) if fits else None)[0]
        pooled.append((vector.mean(dim=0) if vector.ndim == 2 else vector).numpy())
    target_QD = np.stack(pooled).astype(np.float32)
    norms = np.linalg.norm(target_QD, axis=1, keepdims=True)
    if not (good := (np.isfinite(norms) & (norms > 0))[:, 0]).all():
        raise UserError("a target's vector is zero or not finite", f"{place}: {targets[int(np.argmin(good))]}", "again")
    return target_QD / norms
