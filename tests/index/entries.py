"""Clips for a live index that their seeds tell all about."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from covr import tables
from covr.index.snapshot import Snapshot
from covr.index.view import Entry
from covr.storage import Place

DIM = 4
TARGET = "t" * 32


def vector(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return values / np.linalg.norm(values)


def entry(clip_id: str, seed: int) -> Entry:
    row = dict.fromkeys(tables.SCHEMAS["clips"].names)
    clip = {**row, "clip_id": clip_id, "label": "jump" if seed % 2 else "turn", "sha256": f"{seed % 3}"}
    return Entry(clip=clip, vector_D=vector(seed), feature=np.full((2, 3), seed, np.float32))


def first_snapshot(folder: Place, content: Mapping[str, int], kind: str = "exact") -> Snapshot:
    entries = [entry(clip_id, seed) for clip_id, seed in sorted(content.items())]
    return Snapshot.build(
        folder,
        clips=tables.from_rows("clips", [each.clip for each in entries]),
        vectors_ND=np.stack([each.vector_D for each in entries]),
        features_NF=np.stack([each.feature for each in entries]),
        similarity="cosine",
        target_fingerprint=TARGET,
        retriever_fingerprint="r" * 32,
        dataset_fingerprint="d" * 32,
        decoder="decord-0.6.0",
        kind=kind,
    )
