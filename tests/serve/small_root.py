"""A storage root with real clips, a small retriever of random weights and their index, as the jobs leave them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from make_videos import make_video
from omegaconf import DictConfig, OmegaConf

from covr import tables
from covr.clips import version
from covr.clips.isolated import IsolatedDecoder
from covr.config.compose import build, compose
from covr.evaluate.confidence import Confidence
from covr.index.current import Current
from covr.index.snapshot import Snapshot
from covr.models import AIM, ComposedRetriever, build_retriever
from covr.models.text.words import Vocabulary
from covr.storage import Place

# Ids as people have them: with slashes, blanks and letters of their own.
CLIP_IDS = ["a", "b", "dive/2½ somersaults", "e?f#g", "segment"]
TEXT = "show it with two turns"
CONFIDENT_FROM = 0.685


@dataclass(frozen=True, kw_only=True)
class Served:
    """What the endpoint serves, for the tests to compare with."""

    root: Place
    retriever: ComposedRetriever
    snapshot: Snapshot

    def media(self, clip_id: str) -> Path:
        return self.root.resolve(self.snapshot.describe([clip_id])[0]["uri"]).local()


def options(**changes: object) -> DictConfig:
    """The `serve` group with changes."""
    return OmegaConf.merge(compose().serve, changes)


def small_retriever(seed: int = 0, *overrides: str) -> ComposedRetriever:
    """The tiny model, untrained."""
    torch.manual_seed(seed)
    cfg = compose(["model/text=random", *overrides])
    return build_retriever(cfg.model, AIM(build(cfg.model.video))).eval()


def build_root(root: Place, retriever: ComposedRetriever) -> Snapshot:
    """Media, retriever, snapshot and pointer, as the jobs leave them."""
    media = root.local() / "media"
    media.mkdir(parents=True)
    rows, frames = [], []
    with IsolatedDecoder() as decoder:
        for number, clip_id in enumerate(CLIP_IDS):
            place = root / f"media/{number}.mp4"
            make_video(place.local(), width=64, height=48, fps=10, seed=number)
            start_s, end_s = (0.5, 2.0) if clip_id == "segment" else (None, None)
            frames.append(decoder.decode(str(place.local()), retriever.video.sampling, start_s, end_s).frames)
            rows.append(
                {
                    "clip_id": clip_id,
                    "uri": f"media/{number}.mp4",
                    "kind": "video",
                    "start_s": start_s,
                    "end_s": end_s,
                    "label": f"label {number}",
                    "attributes": [("element", "jump")],
                    "split": "test",
                    "sha256": place.sha256(),
                    "num_frames": 30,
                    "fps": 10.0,
                    "width": 64,
                    "height": 48,
                }
            )
    with torch.inference_mode():
        pixels = retriever.video.preprocess(torch.from_numpy(np.stack(frames)))
        features = retriever.video.pool(retriever.video(pixels))
        vectors = retriever.embed_target(features)
    snapshot = Snapshot.build(
        root / "index",
        clips=tables.from_rows("clips", rows),
        vectors_ND=vectors.numpy(),
        features_NF=features.numpy(),
        similarity=retriever.similarity,
        target_fingerprint=retriever.target_fingerprint,
        retriever_fingerprint=retriever.fingerprint,
        dataset_fingerprint="of these tests",
        decoder=version("decord"),
    )
    retriever.save(root / "retrievers/composed")
    Vocabulary.of([TEXT, "somersaults"]).write(root / "retrievers/composed")
    Confidence(level=0.9, score=CONFIDENT_FROM, share=0.5, queries=100).write(root, retriever.fingerprint)
    Current(snapshot=snapshot.fingerprint, retriever="retrievers/composed").write(root)
    return snapshot


def ranked(served: Served, feature_D: np.ndarray, text: str, without: str | None) -> list[tuple[str, float]]:
    """What the endpoint must answer, computed beside it."""
    with torch.inference_mode():
        query = served.retriever.embed_query(torch.tensor(feature_D)[None], [text])
        scores = (served.retriever.embed_target(torch.tensor(served.snapshot.features_NF)) @ query[0]).tolist()
    found = [(clip_id, score) for clip_id, score in zip(CLIP_IDS, scores, strict=True) if clip_id != without]
    return sorted(found, key=lambda pair: -pair[1])
