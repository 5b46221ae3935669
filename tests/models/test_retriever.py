"""The composed retriever: the published stage 2, its four fusions, what its fingerprints follow, its folder."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from covr.config.compose import compose
from covr.errors import UserError
from covr.losses import HardNegativeNCE
from covr.models import (
    AIM,
    AIMConfig,
    ComposedRetriever,
    FusionConfig,
    RetrieverConfig,
    TextConfig,
    TextEncoder,
    build_fusion,
    build_retriever,
)
from covr.storage import Place

GOLDEN = Path(__file__).parents[1] / "golden"
STAGE2 = np.load(GOLDEN / "aim_cir_stage2.npz")
VIDEO = AIMConfig(image_size=32, patch_size=16, num_frames=4, dim=16, depth=1, num_heads=2)
TEXT = TextConfig(layers=1, dim=16, num_heads=2, ffn_dim=32, max_tokens=16, weights="random")
FUSION = FusionConfig(projection_dim=24, hidden_dim=32)
KINDS = ["mlp", "text-only", "video-only", "average"]
TEXTS = ["mirror it", "show it twice", "on the beam"]


def retriever(kind: str = "mlp", **options) -> ComposedRetriever:
    torch.manual_seed(0)
    video = AIM(VIDEO)
    fusion = build_fusion(replace(FUSION, kind=kind), 16)
    text = TextEncoder(TEXT, 16) if fusion.needs_text else None
    return ComposedRetriever(RetrieverConfig(**options), video, text, fusion).eval()


def features(rows: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)) * 3 + 1


@torch.no_grad()
def test_stage_2_is_the_published_one():
    """Text vector -> gated combiner -> HN-NCE against the target vectors, with the published weights."""
    facts = json.loads((GOLDEN / "aim_cir_stage2.json").read_text())
    config = TextConfig(
        layers=4, dim=32, num_heads=4, ffn_dim=64, vocab_size=101, max_positions=64, max_tokens=32, weights="random"
    )
    text = TextEncoder(config, 768)
    prefix = "state_dict_no_combiner/"
    published = {name.removeprefix(prefix): torch.tensor(STAGE2[name]) for name in STAGE2 if name.startswith(prefix)}
    theirs = lambda name: f"Qformer.{name}" if name.startswith("bert") else name.replace("projection", "text_proj")  # noqa: E731
    text.load_state_dict({name: published[theirs(name)] for name in text.state_dict()})
    with torch.device("meta"):
        video = AIM(AIMConfig())
        fusion = build_fusion(FusionConfig(), 768)
    fusion = fusion.to_empty(device="cpu")
    assert facts["combiner"].startswith("fill_by_name scale 0.03")
    for name, parameter in fusion.named_parameters():
        draw = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
        value = draw.standard_normal(parameter.shape).astype(np.float32)
        parameter.copy_(torch.from_numpy(value * 0.03 if value.ndim > 1 else value * 0.02))
    stage2 = ComposedRetriever(RetrieverConfig(), video, text, fusion).eval()
    tokens = {name: torch.tensor(STAGE2[name]) for name in ("input_ids", "attention_mask")}
    query = stage2.forward_query(torch.tensor(STAGE2["ref"]), tokens)
    target = stage2.forward_target(torch.tensor(STAGE2["tar"]))
    torch.testing.assert_close(query, torch.tensor(STAGE2["composed"]), atol=1e-5, rtol=1e-5)
    loss = HardNegativeNCE(weights="published")(query, target)
    torch.testing.assert_close(loss, torch.tensor(STAGE2["loss"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_frames_and_their_features_give_the_same_unit_vectors(kind):
    model = retriever(kind)
    frames = torch.randint(0, 256, (3, 4, 3, 40, 50), dtype=torch.uint8)
    raw = model.video.pool(model.video(model.video.preprocess(frames)))
    for of_frames, of_features in (
        (model.embed_query(frames, TEXTS), model.embed_query(raw, TEXTS)),
        (model.embed_target(frames), model.embed_target(raw)),
    ):
        torch.testing.assert_close(of_frames, of_features)
        torch.testing.assert_close(of_frames.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("kind", "reads_video", "reads_text"),
    [("mlp", True, True), ("text-only", False, True), ("video-only", True, False), ("average", True, True)],
)
@torch.no_grad()
def test_a_query_depends_on_what_its_fusion_reads(kind, reads_video, reads_text):
    model = retriever(kind)
    query = model.embed_query(features(), TEXTS)
    assert torch.equal(query, model.embed_query(features(seed=1), TEXTS)) != reads_video
    assert torch.equal(query, model.embed_query(features(), TEXTS[::-1])) != reads_text
    assert (model.needs.query_feature, model.needs.query_text) == ("pooled" if reads_video else None, reads_text)


@torch.no_grad()
def test_the_average_is_of_unit_vectors():
    model = retriever("average")
    both = torch.nn.functional.normalize(features(), dim=1) + model.text(TEXTS)
    torch.testing.assert_close(model.embed_query(features(), TEXTS), torch.nn.functional.normalize(both, dim=1))


@torch.no_grad()
def test_the_center_is_subtracted_on_both_sides_when_asked():
    published, centred = retriever("average"), retriever("average", center=True)
    for model in (published, centred):
        model.set_center(features(50))
    moved = features() - features(50).mean(dim=0)
    torch.testing.assert_close(centred.embed_target(features()), published.embed_target(moved))
    torch.testing.assert_close(centred.embed_query(features(), TEXTS), published.embed_query(moved, TEXTS))
    assert published.center.eq(0).all()


@torch.no_grad()
def test_the_query_video_may_be_given_unit_length():
    raw, unit = retriever(), retriever(query_video="unit")
    lengths = torch.tensor([1.0, 10.0, 0.1])[:, None]
    torch.testing.assert_close(unit.embed_query(features() * lengths, TEXTS), unit.embed_query(features(), TEXTS))
    assert not torch.allclose(raw.embed_query(features() * lengths, TEXTS), raw.embed_query(features(), TEXTS))


@pytest.mark.parametrize("kind", KINDS)
def test_every_trained_weight_gets_a_gradient_and_the_video_encoder_none(kind):
    model = retriever(kind).train()
    model.video.requires_grad_(False)
    query, target = model(features(), TEXTS, features(seed=1))
    (query * torch.randn_like(query)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not target.requires_grad


def test_a_frozen_video_encoder_stays_in_evaluation_mode():
    model = retriever()
    model.video.requires_grad_(False)
    assert not model.train().video.training
    model.video.requires_grad_(True)
    assert model.train().video.training


@torch.no_grad()
def test_fingerprints_follow_what_their_vectors_depend_on():
    model = retriever(center=True)
    before = model.fingerprint, model.target_fingerprint
    model.text.projection.bias += 1
    assert model.fingerprint != before[0]
    assert model.target_fingerprint == before[1]
    for change in (lambda: model.set_center(features()), lambda: model.video.temporal_embedding.add_(1)):
        before = model.fingerprint, model.target_fingerprint
        change()
        assert model.fingerprint != before[0]
        assert model.target_fingerprint != before[1]


def test_the_target_side_is_the_same_for_every_fusion():
    assert len({retriever(kind).target_fingerprint for kind in KINDS}) == 1


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_round_trip_with_the_video_encoder(tmp_path, kind):
    model = retriever(kind, center=True, query_video="unit")
    model.set_center(features(50))
    model.save(Place(tmp_path))
    loaded = ComposedRetriever.load(str(tmp_path))
    assert (loaded.fingerprint, loaded.target_fingerprint) == (model.fingerprint, model.target_fingerprint)
    assert not loaded.training
    frames = torch.randint(0, 256, (3, 4, 3, 40, 50), dtype=torch.uint8)
    assert torch.equal(loaded.embed_query(frames, TEXTS), model.embed_query(frames, TEXTS))
    assert torch.equal(loaded.embed_target(frames), model.embed_target(frames))
    assert kind in (tmp_path / "README.md").read_text()


def test_what_is_not_a_retriever_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing"):
        ComposedRetriever.load(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text('{"kind": "video encoder"}')
    with pytest.raises(UserError, match="expected a 'retriever'"):
        ComposedRetriever.load(str(tmp_path))


def test_features_of_another_width_are_refused():
    with pytest.raises(UserError, match=r"\(3, 8\).*pooled features \(B, 16\)"):
        retriever().embed_target(torch.zeros(3, 8))


def test_single_modality_rows_have_the_configured_sizes():
    cfg = compose(["model/text=random", "model.init=scratch"]).model
    video = AIM(replace(VIDEO, dim=16))
    composed, alone = (build_retriever(cfg, video, kind) for kind in (None, "video-only"))
    assert alone.text is None
    own = sum(p.numel() for p in alone.fusion.parameters()) - 16  # the constant in the text's place
    assert own == sum(p.numel() for p in composed.fusion.parameters())
    assert not any(p.requires_grad for p in video.parameters())


def test_an_unknown_fusion_is_told():
    cfg = OmegaConf.merge(compose(["model/text=random"]).model, {"fusion": {"kind": "concat"}})
    with pytest.raises(UserError, match=r"model\.fusion\.kind.*mlp, text-only"):
        build_retriever(cfg, AIM(VIDEO))


def test_a_query_is_encoded_once_for_its_vector_and_its_share():
    """The endpoint once ran the text encoder twice for each composed query."""
    model, texts, passes = retriever(), ["twice", "to the left", "on the beam"], []
    model.text.register_forward_hook(lambda *_: passes.append(1))
    vectors_BD, share_B = model.embed_query_with_share(features(), texts)
    assert len(passes) == 1
    torch.testing.assert_close(vectors_BD, model.embed_query(features(), texts))
    assert share_B.shape == (3,)
    assert retriever("video-only").embed_query_with_share(features(), texts)[1] is None
