"""Features leave the table as files that are read back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from covr import tables
from covr.checkpoints.vectors import vectors
from covr.clips import version
from covr.embed.export import export_features
from covr.embed.features import Features
from covr.errors import UserError
from covr.storage import Place


@pytest.mark.parametrize("suffix", [".pth", ".npy"])
def test_features_written_are_read_back_in_their_own_shape(root, tmp_path, suffix):
    """Clips in folders, clips of fewer frames, and one that was refused."""
    frames = {"112/a": 4, "112/b": 2, "113/a": 3, "refused": 0}
    for clip_id in frames:
        root.add(clip_id, f"{clip_id}.mp4")
    root.publish()
    encoder = root.train(seed=0)
    features = Features(root.place, encoder.fingerprint())
    features.describe(encoder.sampling, version("decord"))
    keys = features.keys(root.clips).to_pylist()
    random = np.random.default_rng(0)
    values = {clip_id: random.normal(size=(num, 32)).astype(np.float32) for clip_id, num in frames.items() if num}
    rows = [
        {"clip_id": clip_id, "key": key, "feature": feature, "value": value.ravel(), "shape": value.shape}
        for (clip_id, frames_TD), key in zip(values.items(), keys, strict=False)
        for feature, value in (("frames", frames_TD), ("pooled", frames_TD.mean(axis=0)))
    ]
    features.write(tables.from_rows("features", rows))

    counts = export_features(root.place, Place(tmp_path / "frames"), feature="frames", suffix=suffix)
    assert counts == {"clips": 4, "written": 3}
    found = dict(vectors(Place(tmp_path / "frames"), set(frames)))
    assert found.keys() == values.keys()
    for clip_id, value in values.items():
        np.testing.assert_array_equal(found[clip_id], value)
    export_features(root.place, Place(tmp_path / "pooled"), "query", suffix=suffix)
    pooled = dict(vectors(Place(tmp_path / "pooled"), {"112/b"}))
    np.testing.assert_array_equal(pooled["112/b"], values["112/b"].mean(axis=0))
    with pytest.raises(UserError, match="no clip has the feature 'tokens'"):
        export_features(root.place, Place(tmp_path / "tokens"), feature="tokens")
