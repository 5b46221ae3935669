"""BLIP-CoVR, BSE-CoVR, ECDE and TF-CoVR compute what the published implementations compute."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from golden_values import Golden, fill_by_name

from covr.checkpoints.layouts import LAYOUTS
from covr.checkpoints.published import load_published
from covr.errors import UserError
from covr.losses import HardNegativeNCE, WeightedTargets
from covr.models.joint import BlipRetriever, BSERetriever, ECDERetriever
from covr.models.joint.pooling import pool_frames

BLIP = Golden("blip_cir")
STAGE2 = Golden("aim_cir_stage2")
SIZES = {"num_heads": 4, "text_num_heads": 4, "enc_token_id": 98}
EDIT, DESCRIPTION = BLIP.tokens("ids35"), BLIP.tokens("desc_ids35")
PROMPT = {"prompt_proj.weight": [48, 32], "prompt_proj.bias": [48]}
PIXELS = BLIP["img"][:, None]  # one frame a clip
LOSS = HardNegativeNCE(weights="published")


def blip(tmp_path, layout="covr", **sizes):
    keys = BLIP.facts["covr/keys"] | (PROMPT if layout == "bse-covr" else {})
    torch.save({"model": fill_by_name(keys, 0.12)}, tmp_path / "blip.ckpt")
    return load_published(layout, tmp_path / "blip.ckpt", **SIZES, **sizes)


def near(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@torch.no_grad()
def test_image_tokens_and_both_ways_of_reading(tmp_path):
    model = blip(tmp_path)
    assert isinstance(model, BlipRetriever)
    tokens = model.image_tokens(BLIP["img"])
    near(tokens, BLIP["covr/vit_out"])
    encoder = model.text_encoder
    near(encoder.read_with(EDIT["input_ids"], EDIT["attention_mask"], tokens), BLIP["covr/multimodal"])
    near(encoder.read(EDIT["input_ids"], EDIT["attention_mask"]), BLIP["covr/text_mode"])


@pytest.mark.parametrize("features", ["pixels", "several frames", "tokens", "frames of tokens"])
@torch.no_grad()
def test_covr_query_and_loss(tmp_path, features):
    model = blip(tmp_path)
    frames = {
        "pixels": PIXELS,
        "several frames": torch.cat([torch.zeros_like(PIXELS), PIXELS, torch.zeros_like(PIXELS)], dim=1),
        "tokens": BLIP["covr/vit_out"],
        "frames of tokens": BLIP["covr/vit_out"][:, None],
    }[features]
    query = model.embed_query(frames, EDIT)
    near(query, BLIP["covr/query_feat"])
    targets = {"si_ti": model.embed_target(BLIP["tar"]), "si_tc": BLIP["txt"]}
    loss = WeightedTargets(LOSS, {"si_ti": 0.5, "si_tc": 0.5})(query, targets)
    near(loss, BLIP["covr/loss_half_half"])


@pytest.mark.parametrize("query", ["text", "visual"])
@torch.no_grad()
def test_covr_of_one_modality(tmp_path, query):
    model = blip(tmp_path, query=query)
    loss = LOSS(model.embed_query(PIXELS, EDIT), model.embed_target(BLIP["tar"]))
    near(loss, BLIP[f"covr_{query}_loss"])


@torch.no_grad()
def test_late_fusion_is_the_gated_residual_of_the_two_vectors(tmp_path):
    """Text 256 and image 256, ReLU linear, linear and gated residual, no projections: written out."""
    shapes = {
        "combiner_layer": (24, 32), "output_layer": (16, 24), "dynamic_scalar.0": (24, 32), "dynamic_scalar.3": (1, 24),
    }  # fmt: skip
    fusion = {f"combiner.{n}.weight": s for n, s in shapes.items()} | {
        f"combiner.{n}.bias": s[:1] for n, s in shapes.items()
    }
    weights = fill_by_name(BLIP.facts["covr/keys"] | fusion, 0.12)
    torch.save({"model": weights}, tmp_path / "late.ckpt")
    model = load_published("covr", tmp_path / "late.ckpt", query="late-fusion", **SIZES)
    image = torch.nn.functional.normalize(model.vision_proj(BLIP["covr/vit_out"][:, 0]), dim=-1)
    text = torch.nn.functional.normalize(model.text_proj(BLIP["covr/text_mode"][:, 0]), dim=-1)
    both = torch.cat([text, image], dim=-1)
    linear = lambda x, name: x @ weights[f"combiner.{name}.weight"].T + weights[f"combiner.{name}.bias"]  # noqa: E731
    gate = linear(linear(both, "dynamic_scalar.0").relu(), "dynamic_scalar.3").sigmoid()
    mixed = linear(linear(both, "combiner_layer").relu(), "output_layer") + gate * text + (1 - gate) * image
    expected = torch.nn.functional.normalize(mixed, dim=-1)
    for frames in (PIXELS, image, image[:, None], model.query_features(PIXELS)):
        near(model.forward_query(frames, EDIT), expected)
    trained = {name.split(".")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {"text_encoder", "text_proj", "combiner"}
    torch.save({"model": fill_by_name(BLIP.facts["covr/keys"], 0.12)}, tmp_path / "blip.ckpt")
    with pytest.raises(UserError, match="fusion \\(combiner\\) would stay random"):
        load_published("covr", tmp_path / "blip.ckpt", query="late-fusion", **SIZES)


def test_one_string_is_not_a_list_of_letters(tmp_path):
    with pytest.raises(UserError, match="one string in place of a list"):
        blip(tmp_path).embed_query(PIXELS, "make it red")


@torch.no_grad()
def test_bse_in_the_form_of_training_and_of_testing(tmp_path):
    model = blip(tmp_path, "bse-covr")
    assert isinstance(model, BSERetriever)
    near(model.prompt(DESCRIPTION), BLIP["bse/prompt"])
    query = model.embed_query(PIXELS, EDIT, DESCRIPTION)
    near(LOSS(query, model.embed_target(BLIP["tar"])), BLIP["bse/loss"])
    model.config = replace(model.config, description_token="enc")
    near(model.prompt(DESCRIPTION), BLIP["bse/prompt_test"])
    with pytest.raises(UserError, match="description"):
        model.embed_query(PIXELS, EDIT)


@torch.no_grad()
def test_ecde_mixes_readings_and_targets(tmp_path):
    model = blip(tmp_path, "ecde")
    assert isinstance(model, ECDERetriever)
    query = model.embed_query(PIXELS, EDIT, BLIP.tokens("desc_ids256"))
    targets = {"si_ti": model.embed_target(BLIP["tar"]), "si_tm": BLIP["mm"]}
    loss = WeightedTargets(LOSS, {"si_ti": 0.8, "si_tm": 0.2})(query, targets)
    near(loss, BLIP["ecde/loss"])
    near(model.embed_query(PIXELS, EDIT), BLIP["covr/query_feat"])  # the published test gives no caption


def test_what_covr_trains(tmp_path):
    model = blip(tmp_path)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == BLIP.facts["covr/trainable"]
    text = blip(tmp_path, query="text")
    assert not any(p.requires_grad for n, p in text.named_parameters() if ".crossattention." in n)
    visual = blip(tmp_path, query="visual")
    assert {n.split(".")[0] for n, p in visual.named_parameters() if p.requires_grad} == {"visual_encoder"}


def test_frozen_image_encoder_is_still_in_training_as_published_on_request(tmp_path):
    model = blip(tmp_path).train()
    assert model.text_encoder.training
    assert not model.visual_encoder.training
    model.config = replace(model.config, frozen_image="published")
    assert model.train().visual_encoder.training


@torch.no_grad()
def test_targets_from_frames_scores_and_pooled_vectors_agree(tmp_path):
    model = blip(tmp_path)
    pixels = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    frames = model.target_features(pixels)
    near(model.embed_target(pixels), model.embed_target(frames))
    scores = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.1, float("nan")]])
    weights = torch.softmax(torch.tensor([[1.0, 3, 2], [5, 1, -torch.inf]]), dim=1)
    pooled = (weights[..., None] * frames).sum(dim=1)
    near(model.embed_target(pixels, scores), torch.nn.functional.normalize(pooled, dim=-1))
    near(model.embed_target(pooled), torch.nn.functional.normalize(pooled, dim=-1))
    with pytest.raises(UserError, match="image tokens"):
        model.embed_query(frames, EDIT)


def test_pooling_by_scores_as_published():
    golden = Golden("covr_recall")
    frames, scores = golden["pool_query/emb"][None], torch.tensor([golden.facts["pool_query/scores"]])
    near(pool_frames(frames, "scores", scores)[0], golden["pool_query/out"])
    near(pool_frames(frames, "scores")[0], golden["pool_query/uniform"])  # published: no scores, equal weights
    torch.testing.assert_close(pool_frames(frames, "middle")[0], frames[0, 7])


@torch.no_grad()
def test_tf_covr_text_side_and_combiner(tmp_path):
    shapes = STAGE2.facts["keys"]
    combiner = {name: shape for name, shape in shapes.items() if name.startswith("combiner.")}
    tensors = STAGE2.below("state_dict_no_combiner/") | fill_by_name(combiner, 0.03)
    torch.save({"model": tensors}, tmp_path / "tf-covr.ckpt")
    model = load_published("tf-covr", tmp_path / "tf-covr.ckpt", text_num_heads=4)
    text = {"input_ids": STAGE2["input_ids"], "attention_mask": STAGE2["attention_mask"]}
    qformer = model.qformer
    near(qformer.read(**{f"{name}_BL": tensor for name, tensor in text.items()}), STAGE2["text_hidden"])
    near(model.read(text), STAGE2["text_feat"])
    with pytest.raises(UserError, match="reads video vectors"):
        model.embed_target(torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8))
    query = model.embed_query(STAGE2["ref"], text)
    near(query, STAGE2["composed"])
    near(LOSS(query, model.embed_target(STAGE2["tar"])), STAGE2["loss"])
    near(qformer.look(STAGE2["img_tokens"]), STAGE2["image_mode"])
    read = qformer.read_with(text["input_ids"], text["attention_mask"], STAGE2["img_tokens"])
    near(read, STAGE2["multimodal"])

    sources = {source.own: source.published for source in LAYOUTS["tf-covr"].sources(model)}
    trained = {sources[name] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == set(STAGE2.facts["trainable"])
    assert {sources[name] for name, _ in model.named_parameters()} - trained == set(STAGE2.facts["frozen"])
