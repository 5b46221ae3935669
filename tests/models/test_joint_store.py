"""Joint models from configurations and in folders; what their fingerprints follow; CoVR-2's means."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pyarrow as pa
import pytest
import torch
from golden_values import Golden, fill_by_name

from covr.config.compose import compose
from covr.errors import UserError
from covr.models import ComposedRetriever, load_published
from covr.models.image.clip import ClipResNetConfig
from covr.models.image.vit import ImageConfig
from covr.models.joint import (
    Blip2Config,
    Blip2Retriever,
    BlipConfig,
    BlipRetriever,
    ClipConfig,
    ClipRetriever,
    TFCoVRConfig,
    TFCoVRRetriever,
)
from covr.models.joint.store import build_joint
from covr.models.text.clip import ClipTextConfig
from covr.models.text.med import MEDConfig
from covr.models.text.qformer import QFormerConfig
from covr.storage import Place
from covr.tables import FEATURES

MODELS = files("covr.config").joinpath("model")
JOINT = sorted(
    file.name.removesuffix(".yaml")
    for file in MODELS.iterdir()
    if file.name.endswith(".yaml") and "joint:" in file.read_text()
)
FULL_SIZE = {
    "blip-covr": (446_127_104, 142_173_952),
    "bse-covr": (446_914_560, 142_961_408),
    "covr-2": (1_359_497_206, 162_439_936),
    "clip-mlp": (164_943_202, 62_936_065),
    "tf-covr-published": (363_010_364, 170_999_809),
}
IMAGE = ImageConfig(image_size=28, patch_size=14, dim=24, depth=2, num_heads=4, ffn_dim=40, drop_path=0.0)
QFORMER = QFormerConfig(
    vocab_size=50, dim=32, depth=3, num_heads=4, ffn_dim=48, max_positions=20, num_queries=4, image_dim=24
)
BLIP2 = Blip2Config(image=IMAGE, qformer=QFORMER, projection_dim=8)
MED = MEDConfig(
    vocab_size=50, dim=16, depth=1, num_heads=2, ffn_dim=24, max_positions=20, image_dim=24, enc_token_id=49
)
BLIP = BlipConfig(image=IMAGE, text=MED, projection_dim=8)
CLIP_TEXT = ClipTextConfig(vocab_size=40, dim=16, depth=1, num_heads=2, max_positions=9, projection_dim=12)
TINY = {
    BlipRetriever: BLIP,
    Blip2Retriever: BLIP2,
    ClipRetriever: ClipConfig(
        image=ClipResNetConfig(image_size=64, layers=(1, 1, 1, 1), width=4, projection_dim=12), text=CLIP_TEXT
    ),
    TFCoVRRetriever: TFCoVRConfig(text=CLIP_TEXT, dim=8, combiner=(6, 10)),
}
TEXT = {
    "input_ids": torch.tensor([[1, 5, 6, 2], [1, 9, 2, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}


def tiny(kind=Blip2Retriever, **options):
    torch.manual_seed(0)
    return kind(replace(TINY[kind], **options)).eval()


@pytest.mark.parametrize("name", JOINT)
def test_every_joint_configuration_builds_at_full_size(name):
    with torch.device("meta"):
        retriever = build_joint(compose([f"model={name}", "model.init=scratch"]).model)
    parameters = list(retriever.parameters())
    counts = (sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad))
    assert counts == FULL_SIZE.get(name, counts)
    with pytest.raises(UserError, match=r"model\.ckpt\.path"), torch.device("meta"):
        build_joint(compose([f"model={name}"]).model)


@pytest.mark.parametrize("kind", TINY, ids=lambda kind: kind.__name__)
@torch.no_grad()
def test_save_and_load(tmp_path, kind):
    retriever = tiny(kind)
    retriever.save(Place(tmp_path / "model"))
    again = ComposedRetriever.load(str(tmp_path / "model"))
    assert type(again) is kind
    assert again.config == retriever.config
    assert (again.fingerprint, again.target_fingerprint) == (retriever.fingerprint, retriever.target_fingerprint)
    frames = torch.randint(0, 256, (2, 3, 3, 40, 50), dtype=torch.uint8)
    frames = torch.randn(2, 8) if kind is TFCoVRRetriever else frames
    torch.testing.assert_close(again.embed_query(frames, TEXT), retriever.embed_query(frames, TEXT), rtol=0, atol=0)
    torch.testing.assert_close(again.embed_target(frames), retriever.embed_target(frames), rtol=0, atol=0)
    assert retriever.embed_query(frames, TEXT).shape == (2, retriever.dim)


def test_the_target_fingerprint_follows_the_target_side_alone():
    retriever = tiny(BlipRetriever)
    before = retriever.fingerprint, retriever.target_fingerprint
    with torch.no_grad():
        retriever.text_proj.bias += 1
    assert retriever.fingerprint != before[0]
    assert retriever.target_fingerprint == before[1]
    with torch.no_grad():
        retriever.vision_proj.bias += 1
    assert retriever.target_fingerprint != before[1]
    assert tiny(BlipRetriever, target_pooling="mean").target_fingerprint != before[1]


@torch.no_grad()
def test_covr2_means_published_and_corrected():
    pixels = torch.randn(2, 3, 3, 28, 28)
    published, corrected = tiny(mean_of_queries="published"), tiny()
    assert (published.similarity, corrected.similarity) == ("dot", "cosine")
    normalize = torch.nn.functional.normalize
    for embed in ("query", "target"):
        inputs = (pixels, TEXT) if embed == "query" else (pixels,)
        mean, unit = (getattr(model, f"forward_{embed}")(*inputs) for model in (published, corrected))
        assert (mean.norm(dim=-1) < 1).all()
        torch.testing.assert_close(normalize(mean, dim=-1), unit)
    rows = published.target_features(pixels)
    assert rows.shape == (2, 3, 4, 8)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2, 3, 4))
    torch.testing.assert_close(published.forward_target(rows), published.forward_target(pixels))


@torch.no_grad()
def test_covr2_over_all_frames_is_the_mean_over_frames():
    pixels = torch.randn(2, 3, 3, 28, 28)
    means = {"mean_of_queries": "published"}
    one, all_frames = tiny(**means), tiny(**means, query_frames=3)
    expected = torch.stack([one.forward_query(pixels[:, t : t + 1], TEXT) for t in range(3)]).mean(dim=0)
    torch.testing.assert_close(all_frames.forward_query(pixels, TEXT), expected)
    torch.testing.assert_close(one.forward_query(pixels, TEXT), one.forward_query(pixels[:, 1:2], TEXT))


@torch.no_grad()
def test_covr2_of_one_modality_and_with_a_combiner():
    pixels, other = torch.randn(2, 2, 1, 3, 28, 28)
    text = tiny(query="text")
    torch.testing.assert_close(text.forward_query(pixels, TEXT), text.forward_query(other, TEXT))
    visual = tiny(query="visual")
    torch.testing.assert_close(visual.forward_query(pixels, TEXT), visual.forward_target(pixels))
    mlp = tiny(query="mlp", combiner=(6, 10))
    raw = mlp.target_features(pixels).mean(dim=(1, 2))
    torch.testing.assert_close(mlp.forward_query(pixels, TEXT), mlp.forward_query(raw, TEXT))


@torch.no_grad()
def test_targets_in_the_colour_order_of_the_published_embeddings():
    frames = torch.randint(0, 256, (2, 3, 3, 28, 28), dtype=torch.uint8)
    right, published = tiny(BlipRetriever), tiny(BlipRetriever, target_colours="bgr")
    torch.testing.assert_close(published.embed_target(frames), right.embed_target(frames.flip(2)))
    torch.testing.assert_close(published.embed_query(frames, TEXT), right.embed_query(frames, TEXT))
    assert published.target_fingerprint != right.target_fingerprint


def test_training_goes_through_query_and_target():
    retriever = tiny(BlipRetriever).train()
    query, target = retriever(torch.randn(2, 1, 3, 28, 28), TEXT, torch.randn(2, 8))
    (query * target).sum().backward()
    trained = {name for name, parameter in retriever.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in retriever.named_parameters() if parameter.requires_grad}


def test_strings_need_a_vocabulary_that_fits():
    with pytest.raises(UserError, match="input_ids"):
        tiny(BlipRetriever).embed_query(torch.randn(1, 5, 24), ["turn around"])
    wide = tiny(BlipRetriever, text=replace(MED, vocab_size=30524, enc_token_id=30523))
    assert wide.embed_query(torch.randn(1, 5, 24), ["turn around"]).shape == (1, 8)
    with pytest.raises(UserError, match="give at most"):
        wide.embed_query(torch.randn(1, 5, 24), ["x" * 5000])


@torch.no_grad()
def test_published_numbers_from_a_features_table(tmp_path):
    """Tokens of query clips and vectors of targets, as a features table keeps them, give the published query."""
    golden = Golden("blip_cir")
    torch.save({"model": fill_by_name(golden.facts["covr/keys"], 0.12)}, tmp_path / "blip.ckpt")
    retriever = load_published("covr", tmp_path / "blip.ckpt", num_heads=4, text_num_heads=4, enc_token_id=98)
    tokens = retriever.image_tokens(golden["img"])
    rows = [
        {
            "clip_id": f"c{i}",
            "key": f"k{i}",
            "feature": "tokens",
            "value": row.flatten().tolist(),
            "shape": list(row.shape),
        }
        for i, row in enumerate(tokens)
    ]
    table = pa.Table.from_pylist(rows, schema=FEATURES)
    stored = torch.stack([torch.tensor(row["value"]).view(row["shape"]) for row in table.to_pylist()])
    query = retriever.embed_query(stored, golden.tokens("ids35"))
    torch.testing.assert_close(query, golden["covr/query_feat"], rtol=0, atol=1e-5)
