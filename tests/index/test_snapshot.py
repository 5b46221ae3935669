"""A snapshot is written whole, read whole and refused when anything about it is not as it was written."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covr import tables
from covr.errors import UserError
from covr.index.snapshot import Snapshot
from covr.storage import Place

TARGET = "t" * 32


def build(folder: Place, clip_ids: list[str], vectors: np.ndarray, similarity: str = "cosine") -> Snapshot:
    return Snapshot.build(
        folder,
        clips=tables.from_rows("clips", [{"clip_id": clip_id, "label": "jump"} for clip_id in clip_ids]),
        vectors_ND=vectors,
        features_NF=np.arange(3 * len(clip_ids), dtype=np.float32).reshape(-1, 3),
        similarity=similarity,
        target_fingerprint=TARGET,
        retriever_fingerprint="r" * 32,
        dataset_fingerprint="d" * 32,
        decoder="decord-0.6.0",
    )


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    snapshot = build(Place(tmp_path), [f"clip/{i}é" for i in range(20)], rng.normal(size=(20, 8)))
    return snapshot, Place(tmp_path) / snapshot.fingerprint


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 30),
    k=st.integers(1, 40),
    similarity=st.sampled_from(["cosine", "dot"]),
)
def test_search_equals_brute_force_after_a_reload(tmp_path_factory, seed, count, k, similarity):
    rng = np.random.default_rng(seed)
    vectors, queries = rng.normal(size=(count, 5)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    clip_ids = [f"{i}-é/%2F" for i in rng.permutation(count)]
    folder = Place(tmp_path_factory.mktemp("index"))
    written = build(folder, clip_ids, vectors, similarity)
    snapshot = Snapshot.load(folder / written.fingerprint, target_fingerprint=TARGET)
    exclude = [clip_ids[:1], [], [*clip_ids[1:3], "no such clip"]]
    for query, ranked, without in zip(queries, snapshot.search(queries, k, exclude), exclude, strict=True):
        scores = {clip_id: vector @ query for clip_id, vector in zip(clip_ids, vectors, strict=True)}
        if similarity == "cosine":
            norms = dict(zip(clip_ids, np.linalg.norm(vectors, axis=1) * np.linalg.norm(query), strict=True))
            scores = {clip_id: score / norms[clip_id] for clip_id, score in scores.items()}
        expected = sorted((-score, clip_id) for clip_id, score in scores.items() if clip_id not in without)[:k]
        assert ranked.clip_ids == [clip_id for _, clip_id in expected]
        np.testing.assert_allclose(ranked.scores, [-score for score, _ in expected], rtol=1e-4, atol=1e-5)


def test_reload_is_what_was_built(written):
    snapshot, place = written
    loaded = Snapshot.load(place, target_fingerprint=TARGET)
    assert loaded.manifest == snapshot.manifest
    assert loaded.fingerprint == snapshot.fingerprint
    assert loaded.clips.equals(snapshot.clips)
    np.testing.assert_array_equal(loaded.vectors_ND, snapshot.vectors_ND)
    np.testing.assert_array_equal(loaded.features_NF, snapshot.features_NF)
    assert loaded.row("clip/3é") == 3
    assert "clip/3é" in loaded
    assert "clip/3" not in loaded


def test_same_input_same_fingerprint_other_input_another(tmp_path):
    vectors = np.eye(4)
    first, again = (build(Place(tmp_path), list("abcd"), vectors).fingerprint for _ in range(2))
    other = build(Place(tmp_path), list("abdc"), vectors).fingerprint
    assert first == again != other


def test_the_file_is_one_that_faiss_reads(written):
    snapshot, place = written
    index = faiss.read_index(str((place / "vectors.faiss").local()))
    np.testing.assert_array_equal(index.reconstruct_n(0, 20), snapshot.vectors_ND)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


DAMAGE = {
    "flipped bit in the vectors": (lambda p: flip(p / "vectors.faiss", -3), "damaged (vectors.faiss)"),
    "flipped bit in the header": (lambda p: flip(p / "vectors.faiss", 5), "damaged (vectors.faiss)"),
    "flipped bit in the features": (lambda p: flip(p / "features.npy", -1), "damaged (features.npy)"),
    "flipped bit in the clips": (lambda p: flip(p / "clips.parquet", 30), "damaged (clips.parquet)"),
    "vectors cut short": (
        lambda p: (p / "vectors.faiss").write_bytes((p / "vectors.faiss").read_bytes()[:-16]),
        "damaged (vectors.faiss)",
    ),
    "empty vectors": (lambda p: (p / "vectors.faiss").write_bytes(b""), "damaged (vectors.faiss)"),
    "a part is gone": (lambda p: (p / "features.npy").unlink(), "missing (features.npy)"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "no index"),
    "manifest cut short": (lambda p: (p / "manifest.json").write_text("{"), "manifest is damaged"),
    "manifest of another shape": (lambda p: (p / "manifest.json").write_text("[1]"), "manifest is damaged"),
    "manifest with another dimension": (
        lambda p: (p / "manifest.json").write_text(
            json.dumps(json.loads((p / "manifest.json").read_text()) | {"dim": 16})
        ),
        "not the one that was written",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_with_its_reason(written, name):
    _, place = written
    damage, message = DAMAGE[name]
    damage(place.local())
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Snapshot.load(place, target_fingerprint=TARGET)


def test_another_retriever_is_refused(written):
    _, place = written
    with pytest.raises(UserError, match="another retriever"):
        Snapshot.load(place, target_fingerprint="x" * 32)


@pytest.mark.parametrize(
    ("clip_ids", "vectors", "message"),
    [
        ([], np.empty((0, 3)), "no clip to index"),
        (["a", "a"], np.eye(2), "twice"),
        (["a", "b"], np.eye(3), "2 clips, 3 vectors"),
        (["a", "b"], np.array([[1, 0], [0, 0]]), "zero or not finite"),
        (["a", "b"], np.array([[1, np.nan], [0, 1]]), "zero or not finite"),
        (["a", "b"], np.array([[1, np.inf], [0, 1]]), "zero or not finite"),
    ],
)
def test_what_cannot_be_ranked_is_not_indexed(tmp_path, clip_ids, vectors, message):
    with pytest.raises(UserError, match=message):
        build(Place(tmp_path), clip_ids, vectors)
    assert Place(tmp_path).list() == []
