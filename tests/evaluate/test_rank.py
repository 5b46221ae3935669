"""Exact ranking: right order, fixed ties, the query's own clip, no dependence on blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covr.errors import UserError
from covr.evaluate import rank
from covr.evaluate.rank import LAST, rank_embeddings, rank_randomly, reorder, top

scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 40)),
    elements=st.sampled_from([-np.inf, -100.0, -1.5, -1e-30, -0.0, 0.0, 1e-30, 0.25, 0.5, 0.75, 3e38]),
)


@given(scores, st.integers(1, 50))
def test_top_is_a_stable_sort(scores_BG, depth):
    columns, found = top(scores_BG.copy(), depth)
    expected = np.argsort(-(scores_BG + 0.0), axis=1, kind="stable")[:, :depth]
    assert (columns == expected).all()
    assert (found == np.take_along_axis(scores_BG, expected, axis=1)).all()


def example(queries: int = 40, clips: int = 30, dim: int = 5) -> dict:
    rng = np.random.default_rng(1)
    vectors = rng.integers(-2, 3, (queries + clips, dim)).astype(np.float32)  # exact sums, many ties
    order = rng.permutation(clips)
    return {
        "query_QD": vectors[:queries],
        "gallery_GD": vectors[queries:],
        "query_ids": [f"q{i}" for i in range(queries)],
        "query_clips": [f"c{i:02d}" for i in range(queries)],
        "gallery_clips": [f"c{i:02d}" for i in order],
    }


def by_hand(asked: dict, q: int) -> list[tuple[str, float]]:
    scored = [
        (-float(asked["query_QD"][q] @ vector), clip)
        for vector, clip in zip(asked["gallery_GD"], asked["gallery_clips"], strict=True)
        if clip != asked["query_clips"][q]
    ]
    return [(clip, -score) for score, clip in sorted(scored)]


@pytest.mark.parametrize("depth", [1, 7, 30, 1000])
def test_equals_brute_force_with_ties_by_clip_id(depth):
    asked = example()
    runs = rank_embeddings(**asked, depth=depth).to_pandas()
    for q, query_id in enumerate(asked["query_ids"]):
        mine = runs[runs.query_id == query_id]
        assert list(zip(mine.clip_id, mine.score, strict=True)) == by_hand(asked, q)[:depth]
        assert list(mine["rank"]) == list(range(1, len(mine) + 1))


def test_blocks_do_not_matter(monkeypatch):
    asked = example()
    whole = rank_embeddings(**asked, depth=12)
    monkeypatch.setattr(rank, "BLOCK_SCORES", 100)
    assert rank_embeddings(**asked, depth=12).equals(whole)


def test_own_clip_comes_last_under_the_published_protocol():
    asked = example()
    asked["gallery_clips"] = ["c00", *asked["gallery_clips"][1:], "c00"]
    asked["gallery_GD"] = np.vstack([asked["gallery_GD"], asked["gallery_GD"][:1]])
    runs = rank_embeddings(**asked, depth=1000, own="last").to_pandas()
    mine = runs[runs.query_id == "q0"]
    own = (asked["gallery_clips"]).count("c00")
    assert len(mine) == len(asked["gallery_clips"])
    assert set(mine.clip_id[-own:]) == {"c00"}
    assert set(mine.score[-own:]) == {LAST}


def test_chance_is_seeded_and_leaves_the_own_clip_out():
    asked = {name: value for name, value in example().items() if not name.endswith("D")}
    first, again, other = (rank_randomly(**asked, depth=1000, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
    frame = first.to_pandas()
    assert len(frame) == sum(30 - (clip in asked["gallery_clips"]) for clip in asked["query_clips"])
    assert not (frame.clip_id == frame.query_id.str.replace("q", "c")).any()


def test_an_embedding_that_is_not_finite_is_named():
    asked = example()
    asked["gallery_GD"][3, 0] = np.nan
    with pytest.raises(UserError, match=asked["gallery_clips"][3]):
        rank_embeddings(**asked, depth=5)


def test_a_second_stage_orders_the_first_answers_anew():
    """Against sorting each list by hand."""
    asked = example()
    runs = rank_embeddings(**asked, depth=20)
    again_QG = np.random.default_rng(2).uniform(-1, 1, (40, 30)).astype(np.float32)
    found = reorder(runs, again_QG, asked["query_ids"], asked["gallery_clips"], 7)
    column_of = {clip: column for column, clip in enumerate(asked["gallery_clips"])}
    for row, query in enumerate(asked["query_ids"]):
        before, after = ([each for each in table.to_pylist() if each["query_id"] == query] for table in (runs, found))
        first = sorted((each["clip_id"] for each in before[:7]), key=lambda clip: -again_QG[row, column_of[clip]])
        assert [each["clip_id"] for each in after] == first + [each["clip_id"] for each in before[7:]]
        assert [each["rank"] for each in after] == list(range(1, len(before) + 1))
        scores = [each["score"] for each in after[:7]]
        assert scores == sorted(scores, reverse=True)
        assert [each["stage"] for each in after] == ["rerank"] * 7 + ["retrieve"] * (len(before) - 7)
