"""Real retrievers with random weights, random features for them, and an evaluation job on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from covr import tables
from covr.clips import version
from covr.config.compose import compose
from covr.embed.features import Features
from covr.job import Job
from covr.models import AIM, AIMConfig, ComposedRetriever, FusionConfig, RetrieverConfig, TextConfig, TextEncoder
from covr.models.fusion import build_fusion
from covr.storage import Place, TableStore
from covr.tracking import Tracking


def save_retriever(place: Place, kind: str, seed: int = 0) -> ComposedRetriever:
    torch.manual_seed(seed)
    video = AIM(AIMConfig(image_size=32, patch_size=16, num_frames=4, dim=16, depth=1, num_heads=2))
    text = TextEncoder(
        TextConfig(layers=1, dim=16, num_heads=2, ffn_dim=32, max_tokens=16, weights="random"), video.dim
    )
    fusion = build_fusion(replace(FusionConfig(projection_dim=24, hidden_dim=32), kind=kind), video.dim)
    retriever = ComposedRetriever(RetrieverConfig(), video, text, fusion).eval()
    retriever.save(place)
    return retriever


def save_features(root: Place, encoder: str, sampling) -> None:
    features = Features(root, encoder)
    features.describe(sampling, version("decord"))
    clips = TableStore(root / "tables" / "clips", "clips").read()
    rng = np.random.default_rng(0)
    rows = [
        {"clip_id": clip_id, "key": key, "feature": "pooled", "value": rng.normal(size=16), "shape": [16]}
        for clip_id, key in zip(clips["clip_id"].to_pylist(), features.keys(clips).to_pylist(), strict=True)
    ]
    features.write(tables.from_rows("features", rows))


def job_on(root: Place, *overrides: str) -> Job:
    cfg = compose([f"out={root}", *overrides])
    return Job(cfg=cfg, root=root, tracking=Tracking.from_config(cfg.trainer.logger, root))
