"""A storage root with triplets, captions and random clip vectors, and a retriever that is trained in no time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covr import tables
from covr.models import (
    AIM,
    AIMConfig,
    ComposedRetriever,
    FusionConfig,
    RetrieverConfig,
    TextConfig,
    TextEncoder,
    build_fusion,
)
from covr.storage import Place, TableStore
from covr.train.vectors import Vectors

NUM_TRIPLETS, DIM = 13, 16
CLIPS = [f"clip{n:02d}" for n in range(12)]


def retriever(dropout: float = 0.0) -> ComposedRetriever:
    """Without dropout, the number of workers and of chunks changes nothing."""
    video = AIM(AIMConfig(image_size=16, num_frames=2, dim=DIM, depth=1, num_heads=2)).requires_grad_(False)
    text = TextEncoder(
        TextConfig(layers=1, dim=16, num_heads=2, ffn_dim=32, dropout=dropout, max_positions=16, max_tokens=16), DIM
    )
    fusion = build_fusion(FusionConfig(projection_dim=16, hidden_dim=16, dropout=dropout), DIM)
    return ComposedRetriever(RetrieverConfig(center=True, query_video="unit"), video, text, fusion)


def build(root: Place, captions: Sequence[str] = CLIPS, splits: Sequence[str] = ("train", "val")) -> None:
    """13 triplets a split over 12 clips of 4 labels, several right answers each; captions of some; `vectors.arrow`."""
    triplets = [
        {
            "query_id": f"{split}{n}",
            "query_clip": CLIPS[(4 * n + n % 4 + 1) % 12],  # of the label before
            "modifications": [f"show it {n % 4} times", f"{n % 4} times please"],
            "target_clips": [clip for place, clip in enumerate(CLIPS) if place % 4 == n % 4],
            "target_label": f"label{n % 4}",
            "galleries": [("corrected", "all")],
            "split": split,
        }
        for split in splits
        for n in range(NUM_TRIPLETS)
    ]
    rows = {
        "triplets": triplets,
        "galleries": [{"gallery_id": "all", "clip_id": clip} for clip in CLIPS],
        "texts": [
            {"owner_id": clip, "kind": "caption", "text": f"number {CLIPS.index(clip) % 4}"} for clip in captions
        ],
    }
    for name, values in rows.items():
        TableStore(root / "tables" / name, name).publish(tables.from_rows(name, values), f"{name:0<32}")
    vectors = np.random.default_rng(0).normal(size=(len(CLIPS), DIM)).astype(np.float32)
    Vectors.write(root / "vectors.arrow", CLIPS, vectors)
