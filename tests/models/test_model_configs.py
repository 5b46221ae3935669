"""Every YAML of the model groups composes and builds what it says."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
from torch import nn

from covr.config.compose import build, compose
from covr.losses import ContrastiveLoss
from covr.models import AIM, AIMConfig, TextConfig, TextEncoder, build_fusion, build_retriever, build_video

GROUPS = files("covr.config").joinpath("model")
FULL = ["model=tf-covr-base", "model.text.weights=random", "model.init=scratch"]


def names(group: str) -> list[str]:
    return sorted(file.name.removesuffix(".yaml") for file in GROUPS.joinpath(group).iterdir() if ".yaml" in file.name)


@pytest.mark.parametrize("name", [name for name in names("video") if name != "stored"])  # that one is no network
def test_video(name):
    config = build(compose([f"model/video={name}"]).model.video)
    assert isinstance(config, AIMConfig)
    with torch.device("meta"):
        assert AIM(config).sampling.num_frames == config.num_frames


def test_full_size_defaults_are_the_published_network():
    config = build(compose(["model=tf-covr-base"]).model.video)
    with torch.device("meta"):
        encoder = AIM(config)
    encoder.freeze()
    assert sum(p.numel() for p in encoder.parameters()) == 96_460_032
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == 10_662_144


@pytest.mark.parametrize("name", names("text"))
def test_text(name):
    config = build(compose([f"model/text={name}"]).model.text)
    if isinstance(config, TextConfig):
        with torch.device("meta"):
            assert TextEncoder(config, 96).projection.out_features == 96


@pytest.mark.parametrize("name", names("fusion"))
def test_fusion(name):
    config = build(compose([f"model/fusion={name}"]).model.fusion)
    with torch.device("meta"):
        assert isinstance(build_fusion(config, 768), nn.Module)


@pytest.mark.parametrize("name", names("loss"))
def test_loss(name):
    assert isinstance(build(compose([f"model/loss={name}"]).model.loss), ContrastiveLoss)


def test_full_size_without_weights():
    cfg = compose(FULL).model
    with torch.device("meta"):
        retriever = build_retriever(cfg, build_video(cfg))
    fusion = sum(p.numel() for p in retriever.fusion.parameters())
    assert fusion == 84_960_001
    assert retriever.text.projection.weight.shape == (768, 768)
    assert retriever.text.bert.embeddings.word_embeddings.weight.shape == (30523, 768)
    assert not retriever.config.center


def test_the_small_default_runs():
    cfg = compose(["model.init=scratch", "model/text=random"]).model
    retriever = build_retriever(cfg, build_video(cfg)).eval()
    frames = torch.randint(0, 256, (2, 12, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        query = retriever.embed_query(frames, ["mirror it", "once more"])
        assert query.shape == retriever.embed_target(frames).shape == (2, 96)
