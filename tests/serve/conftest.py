"""A storage root with real clips, a small retriever of random weights and their index; and the endpoint over it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from covr import tables
from covr.clips import version
from covr.clips.isolated import IsolatedDecoder
from covr.config.compose import build, compose
from covr.index.current import Current
from covr.index.snapshot import Snapshot
from covr.models import AIM, ComposedRetriever, build_retriever
from covr.storage import Place
from serve.run import serving

# Ids as people have them: with slashes, blanks and letters of their own.
CLIP_IDS = ["a", "b", "dive/2½ somersaults", "e?f#g", "segment"]
TEXT = "show it with two turns"


@dataclass(frozen=True, kw_only=True)
class Served:
    """What the endpoint serves, for the tests to compare with."""

    root: Place
    retriever: ComposedRetriever
    snapshot: Snapshot

    def media(self, clip_id: str) -> Path:
        return self.root.resolve(self.snapshot.describe([clip_id])[0]["uri"]).local()


def write_video(path: Path, seed: int, num_frames: int = 30, size: tuple[int, int] = (64, 48)) -> None:
    """An H.264 file of a bright square that moves over a background, both by the seed."""
    rng = np.random.default_rng(seed)
    background, square = rng.integers(0, 256, (2, 3))
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(num_frames):
            pixels = np.broadcast_to(background.astype(np.uint8), (height, width, 3)).copy()
            left = number * (width - 16) // max(num_frames - 1, 1)
            pixels[8:24, left : left + 16] = square
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))


def options(**changes: object) -> DictConfig:
    """The `serve` group with changes."""
    return OmegaConf.merge(compose().serve, changes)


def small_retriever(seed: int = 0) -> ComposedRetriever:
    """The tiny model, untrained."""
    torch.manual_seed(seed)
    cfg = compose(["model/text=random"])
    return build_retriever(cfg.model, AIM(build(cfg.model.video))).eval()


def build_root(root: Place, retriever: ComposedRetriever) -> Snapshot:
    """Media, retriever, snapshot and pointer, as the jobs leave them."""
    media = root.local() / "media"
    media.mkdir(parents=True)
    rows, frames = [], []
    with IsolatedDecoder() as decoder:
        for number, clip_id in enumerate(CLIP_IDS):
            place = root / f"media/{number}.mp4"
            write_video(place.local(), seed=number)
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
    Current(snapshot=snapshot.fingerprint, retriever="retrievers/composed").write(root)
    return snapshot


@pytest.fixture(scope="package")
def served(tmp_path_factory) -> Served:
    root, retriever = Place(tmp_path_factory.mktemp("served")), small_retriever()
    return Served(root=root, retriever=retriever, snapshot=build_root(root, retriever))


@pytest.fixture(scope="package")
def url(ray_cluster, served):
    """The endpoint below a route prefix, so that every link is seen to carry it."""
    with serving(served.root, options(port=0, route_prefix="/retrieval")) as address:
        yield address
