"""The frame encoder, and retrievers that read frames: each frame alone, the middle one, a trained head."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from covr.config.compose import compose
from covr.models import AIM, ComposedRetriever, build_retriever, build_video, load_video, save_video
from covr.models.video.frames import FrameEncoder
from covr.storage import Place

SMALL = ("model/text=random", "model.init=scratch", "model.video.dim=16", "model.video.depth=1")


@pytest.fixture
def frames():
    return torch.randint(0, 256, (2, 12, 3, 40, 40), dtype=torch.uint8)


def test_a_frame_does_not_see_the_others(frames):
    encoder = build_video(compose(["model=motions/frame-mlp-12", "model.init=backbone"]).model).eval()
    assert isinstance(encoder, FrameEncoder)
    with torch.no_grad():
        alone = encoder(encoder.preprocess(frames))
        assert torch.allclose(encoder(encoder.preprocess(frames.flip(1))), alone.flip(1), atol=1e-5)
        assert torch.allclose(encoder(encoder.preprocess(frames[:, :1])), alone[:, :1], atol=1e-5)
        assert not torch.allclose(alone[:, 0], alone[:, 1], atol=1e-2)
        together = AIM(_as_aim(encoder))
        together.load_state_dict(encoder.state_dict())
        assert not torch.allclose(together.eval()(encoder.preprocess(frames)), alone, atol=1e-2)


def test_it_comes_back_from_its_folder(tmp_path, frames):
    encoder = build_video(compose(["model=motions/frame-mlp-1", *SMALL]).model).eval()
    save_video(encoder, Place(tmp_path))
    again = load_video(Place(tmp_path))
    assert isinstance(again, FrameEncoder)
    assert again.fingerprint() == encoder.fingerprint()
    with torch.no_grad():
        assert torch.equal(again(again.preprocess(frames)), encoder(encoder.preprocess(frames)))


def test_the_query_by_its_middle_frame(frames):
    cfg = compose(["model=motions/frame-mlp-1", *SMALL]).model
    retriever = build_retriever(cfg, build_video(cfg)).eval()
    assert (retriever.needs.query_feature, retriever.needs.target_feature) == ("frames", "pooled")
    texts = ["once more", "twice"]
    with torch.no_grad():
        stored = retriever.video.features(retriever.video.resize(frames))["frames"]
        query = retriever.embed_query(stored, texts)
        assert torch.allclose(retriever.embed_query(frames, texts), query, atol=1e-5)
        others = stored.clone()
        others[:, [0, 11]] += 1.0
        assert torch.equal(retriever.embed_query(others, texts), query)
        others[:, 6] += 1.0
        assert not torch.allclose(retriever.embed_query(others, texts), query)


def test_a_head_starts_where_there_is_none_and_belongs_to_the_targets_fingerprint(tmp_path):
    torch.manual_seed(0)
    cfg = compose(["model=tf-covr-base-tiny", *SMALL, "+model.head=24"]).model
    retriever = build_retriever(cfg, build_video(cfg)).eval()
    features = torch.randn(3, 16)
    with torch.no_grad():
        assert torch.allclose(retriever.embed_target(features), torch.nn.functional.normalize(features, dim=-1))
        before = retriever.target_fingerprint
        retriever.head.outer.weight.normal_()
        assert retriever.target_fingerprint != before
        retriever.save(Place(tmp_path))
        again = ComposedRetriever.load(Place(tmp_path))
        assert torch.equal(again.embed_target(features), retriever.embed_target(features))
    assert again.target_fingerprint == retriever.target_fingerprint


def _as_aim(encoder):
    config = asdict(encoder.config)
    del config["alone"]
    from covr.models import AIMConfig

    return AIMConfig(**config)
