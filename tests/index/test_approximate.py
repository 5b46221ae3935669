"""Approximate kinds against an exact search: as many answers, none that is left out, exact scores, most of the same."""

from __future__ import annotations

import hashlib
import json
import struct
from functools import cache
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covr import tables
from covr.client.filters import Range
from covr.errors import UserError
from covr.index.approximate import Approximate, Kind, chosen
from covr.index.exact import top_k
from covr.index.snapshot import Snapshot, unit
from covr.storage import Place
from covr.storage.place import fingerprint

COUNT, DIM = 2000, 8
KINDS = [kind for kind in get_args(Kind) if kind != "exact"]
SIMILARITIES = ["cosine", "dot"]


def vectors(similarity: str, count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Neighbourhoods, as features have them; of very different lengths where that counts."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, DIM))
    values = centres[rng.integers(0, 40, count)] + 0.4 * rng.normal(size=(count, DIM))
    return unit(values) if similarity == "cosine" else (values * rng.uniform(0.2, 3, (count, 1))).astype(np.float32)


@cache
def built(kind: str, similarity: str) -> tuple[Approximate, float]:
    return Approximate.build(kind, vectors(similarity), similarity)


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    similarity=st.sampled_from(SIMILARITIES),
    effort=st.sampled_from([None, 1]),
    seed=st.integers(0, 2**32 - 1),
    k=st.one_of(st.integers(1, 20), st.integers(1, 2 * COUNT)),
    share=st.sampled_from([0.0, 0.0005, 0.3, 0.8, 0.95, 0.999, 1.0]),
)
def test_answers_are_whole_whatever_is_left_out(kind, similarity, effort, seed, k, share):
    index, _ = built(kind, similarity)
    if effort is not None:  # poor, so that what is proposed is often too little
        index = Approximate(kind, index._index, vectors(similarity), effort)
    rng = np.random.default_rng(seed)
    queries = vectors(similarity, 3, seed=seed)
    excluded = [rng.choice(COUNT, round(share * COUNT), replace=True) for _ in queries]
    exactly = top_k(queries, vectors(similarity), k, excluded)
    found = index.top_k(queries, k, excluded)
    for query, without, (best, _), (scores, rows) in zip(queries, excluded, exactly, found, strict=True):
        assert len(rows) == len(set(rows.tolist())) == len(best)
        assert not np.isin(rows, without).any()
        np.testing.assert_allclose(scores, vectors(similarity)[rows] @ query, rtol=1e-5, atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        assert (scores <= best + 1e-5).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_most_answers_are_those_of_an_exact_search(kind, similarity):
    index, recall = built(kind, similarity)
    assert recall >= 0.9
    queries = vectors(similarity, 100, seed=1)
    exactly, found = top_k(queries, vectors(similarity), 5), index.top_k(queries, 5)
    shared = [len(np.intersect1d(a, b)) for (_, a), (_, b) in zip(exactly, found, strict=True)]
    assert np.mean(shared) / 5 >= 0.95


def test_it_is_approximate():
    """The list nearest to a query, and no other, is what an effort of one reads."""
    index, _ = built("ivf", "cosine")
    index = Approximate("ivf", index._index, vectors("cosine"), 1)
    queries = unit(np.random.default_rng(1).normal(size=(100, DIM)))
    exactly, found = top_k(queries, vectors("cosine"), 5), index.top_k(queries, 5)
    assert any(a.tolist() != b.tolist() for (_, a), (_, b) in zip(exactly, found, strict=True))


@pytest.mark.parametrize(
    ("kind", "count", "dim", "found"),
    [
        ("auto", 1000, 512, "exact"),
        ("auto", 100_000, 512, "ivf"),
        ("auto", 10_000_000, 512, "pq"),
        ("hnsw", 10, 4, "hnsw"),
    ],
)
def test_auto_goes_by_size(kind, count, dim, found):
    assert chosen(kind, count, dim) == found


def test_a_kind_that_there_is_not():
    with pytest.raises(UserError, match=r"index.kind=lsh.*auto, exact, ivf"):
        chosen("lsh", 10, 4)


def snapshot(folder: Place, kind: str, count: int = COUNT) -> Snapshot:
    rows = [{"clip_id": f"clip {row:04d}", "width": row} for row in range(count)]
    return Snapshot.build(
        folder,
        clips=tables.from_rows("clips", rows),
        vectors_ND=vectors("cosine", count),
        features_NF=np.zeros((count, 1)),
        similarity="cosine",
        target_fingerprint="t",
        retriever_fingerprint="r",
        dataset_fingerprint="d",
        decoder="decord",
        kind=kind,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_of_each_kind_is_read_back_and_is_the_same_when_built_again(tmp_path, kind):
    made = snapshot(Place(tmp_path), kind)
    assert snapshot(Place(tmp_path / "again"), kind).fingerprint == made.fingerprint
    place = Place(tmp_path) / made.fingerprint
    read = Snapshot.load(place, target_fingerprint="t")
    assert read.manifest.kind == kind
    (query,) = vectors("cosine", 1, seed=3)
    where = Range(field="width", range=(100.0, 1800.0))
    found = [each.search(query[None], 7, [["clip 0200"]], [where])[0] for each in (made, read)]
    assert found[0].clip_ids == found[1].clip_ids
    assert len(found[1].clip_ids) == 7
    assert all("clip 0100" <= name <= "clip 1800" for name in found[1].clip_ids)
    whole = read.search(query[None], 2 * COUNT)[0]
    assert sorted(whole.clip_ids) == read.clip_ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_few_clips_are_indexed_too(tmp_path, kind, count):
    made = snapshot(Place(tmp_path), kind, count)
    read = Snapshot.load(Place(tmp_path) / made.fingerprint, target_fingerprint="t")
    assert len(read.search(made.vectors_ND[:1], 10)[0].clip_ids) == min(count, 10)


def rewritten(place: Place, data: bytes) -> Place:
    """The snapshot with another file to search, its manifest made to fit, as by a hand that knows the format."""
    manifest = json.loads((place / "manifest.json").read_bytes())
    manifest["sha256"]["search.faiss"] = hashlib.sha256(data).hexdigest()
    moved = Place(str(place.local().parent)) / fingerprint(manifest)
    place.local().rename(moved.local())
    (moved / "search.faiss").write_bytes(data)
    (moved / "manifest.json").write_json(manifest)
    return moved


@pytest.mark.parametrize(
    ("at", "form", "value", "message"),
    [
        (0, "4s", b"IxPT", "not an inner-product index"),
        (4, "<i", 1 << 30, "dimension 1073741824"),
        (8, "<q", 1 << 60, "holds 1152921504606846976"),
    ],
)
def test_a_head_that_lies_is_refused_before_faiss_reads_it(tmp_path, at, form, value, message):
    place = Place(tmp_path) / snapshot(Place(tmp_path), "hnsw", 100).fingerprint
    data = bytearray((place / "search.faiss").read_bytes())
    struct.pack_into(form, data, at, value)
    (place / "search.faiss").write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        Snapshot.load(place, target_fingerprint="t")
    with pytest.raises(UserError, match=message):
        Snapshot.load(rewritten(place, bytes(data)), target_fingerprint="t")
