"""Texts become a table of vectors in CoVR's form, which is read back as it was."""

from __future__ import annotations

import numpy as np
import published_files
import pytest
import tiny_joint
import torch

from covr.checkpoints.vectors import vectors
from covr.config.compose import build, compose
from covr.embed.text_tables import export_texts
from covr.errors import UserError
from covr.models.joint.store import build_joint
from covr.storage import Place, TableStore


def test_captions_and_modifications_as_a_table_of_unit_vectors(tmp_path):
    root = Place(tmp_path / "root")
    cfg = compose([*published_files.write("webvid-covr", tmp_path / "data"), *tiny_joint.overrides("blip-covr")])
    dataset = build(cfg.data).read(root)
    for name in ("texts", "triplets"):
        TableStore(root / "tables" / name, name).publish(getattr(dataset, name), f"{name:0<32}")
    retriever = build_joint(cfg.model).eval()
    retriever.save(root / "pretrain/model")

    captions = sorted(set(dataset.texts["text"].to_pylist()))
    file = tmp_path / "txt2_webvid2m-covr_train.pth"
    assert export_texts(root, Place(file)) == len(captions) > 4
    content = torch.load(file, weights_only=True)
    assert content["texts"] == captions
    found = dict(vectors(Place(file), captions[1:3]))
    expected = retriever.text_target(captions[1:3]).detach().numpy()
    np.testing.assert_allclose(np.stack([found[text] for text in captions[1:3]]), expected, atol=1e-6)
    np.testing.assert_allclose(content["feats"].norm(dim=1), 1.0, rtol=1e-5)

    assert export_texts(root, Place(file), "modification") == 1
    assert torch.load(file, weights_only=True)["texts"] == ["replace the white lines, and dots with green"]
    with pytest.raises(UserError, match=r"no text of this kind.*--kind captions.*choose caption, description"):
        export_texts(root, Place(file), "captions")
