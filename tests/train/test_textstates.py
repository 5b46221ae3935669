from __future__ import annotations

import pytest
import torch

from covr.models import TextConfig, TextEncoder
from covr.storage import Place
from covr.train.textstates import FOLDER, remember

TEXTS = ["once more", "to the other side", "twice, on the beam"]


def encoder(**options) -> TextEncoder:
    torch.manual_seed(0)
    sizes = {"layers": 2, "dim": 16, "num_heads": 2, "ffn_dim": 32, "max_tokens": 16, "weights": "random"}
    return TextEncoder(TextConfig(**sizes, **options), 8).eval()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("layers", [0, 1, None])
def test_remembered_texts_have_the_vectors_that_they_had(tmp_path, pooling, layers):
    text = encoder(pooling=pooling, train_layers=layers)
    with torch.no_grad():
        before = text(TEXTS)
        remember(text, TEXTS, Place(tmp_path))
        assert torch.allclose(text(TEXTS), before, atol=1e-6)
        assert torch.allclose(text(["never seen", *TEXTS])[1:], before, atol=1e-6)


def test_the_second_row_reads_what_the_first_has_written(tmp_path, monkeypatch):
    first, second = (encoder(pooling="mean", train_layers=0) for _ in range(2))
    second.projection.weight.data.normal_()  # trained otherwise: the frozen layers are the same
    remember(first, TEXTS, Place(tmp_path))
    monkeypatch.setattr(TextEncoder, "_lower", None)  # nothing is read again
    remember(second, TEXTS, Place(tmp_path))
    with torch.no_grad():
        assert second(TEXTS).shape == (3, 8)
    assert len((Place(tmp_path) / FOLDER).list()) == 1
