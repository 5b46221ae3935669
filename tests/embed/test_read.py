"""A description where nobody wrote one: the nearest training clip's, from another recording."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from covr import tables
from covr.clips.sampling import Sampling
from covr.embed.features import Features
from covr.embed.read import nearest
from covr.errors import UserError
from covr.storage import Place, TableStore

ENCODER = "e" * 64
SAMPLING = Sampling(num_frames=4)


def make_root(folder, splits: list[str]) -> tuple[Place, np.ndarray]:
    """Clips c0, c1, ... of these splits, two of each recording, and a random vector of each."""
    root = Place(folder)
    rows = [
        {"clip_id": f"c{n}", "uri": f"{n}.mp4", "kind": "video", "sha256": f"{n:064d}", "split": split}
        | {"source_video": f"r{n // 2}"}
        for n, split in enumerate(splits)
    ]
    clips = tables.from_rows("clips", rows)
    TableStore(root / "tables/clips", "clips").publish(clips, "made")
    features = Features(root, ENCODER)
    features.describe(SAMPLING, "decord")
    vectors = np.random.default_rng(0).normal(3, 1, (len(rows), 8)).astype(np.float32)
    made = [
        {"clip_id": row["clip_id"], "key": key, "feature": "pooled", "value": vector, "shape": [8]}
        for row, key, vector in zip(rows, features.keys(clips).to_pylist(), vectors, strict=True)
    ]
    features.write(tables.from_rows("features", made))
    return root, vectors


def test_the_nearest_training_clip_of_another_recording(tmp_path):
    root, vectors = make_root(tmp_path, ["train"] * 20 + ["test"] * 6)
    train = vectors[:20] - vectors[:20].mean(0)
    distance = cdist(vectors - vectors[:20].mean(0), train, "cosine")
    for n in range(20):
        distance[n, [n, n ^ 1]] = np.inf  # itself, and the other clip of its recording
    asked = [f"c{n}" for n in (25, 3, 3, 0, *range(20))]
    assert nearest(root, ENCODER, asked) == [f"c{distance[int(clip[1:])].argmin()}" for clip in asked]


def test_without_training_clips_there_is_nothing_to_describe_by(tmp_path):
    root, _ = make_root(tmp_path, ["test"] * 4)
    with pytest.raises(UserError, match="give a train split"):
        nearest(root, ENCODER, ["c0"])
