"""What counts as right, and every ranking that cannot be judged."""

from __future__ import annotations

import pyarrow as pa
import pytest

from covr import tables
from covr.errors import UserError
from covr.evaluate.answers import answers

TRIPLETS = tables.from_rows(
    "triplets",
    [
        {"query_id": "q1", "query_clip": "a", "target_clips": ["b", "c", "a"]},
        {"query_id": "q2", "query_clip": "b", "target_clips": ["a"]},
    ],
)
GALLERY = pa.table({"clip_id": ["a", "b", "c", "d"]})


def runs(**ranked: list[str]) -> pa.Table:
    rows = [
        {"query_id": query, "rank": rank, "clip_id": clip, "score": 0.0, "stage": ""}
        for query, clips in ranked.items()
        for rank, clip in enumerate(clips, 1)
    ]
    return tables.from_rows("runs", rows)


def test_the_own_clip_is_no_right_answer_and_only_the_order_of_ranks_counts():
    table = runs(q2=["d", "a"], q1=["d", "c", "b"])
    shuffled = table.take(pa.array([4, 0, 2, 1, 3]))
    found = answers(shuffled, TRIPLETS, GALLERY, "corrected", "runs/x")
    assert found.hits_QR.tolist() == [[False, True, True], [False, True, False]]
    assert found.annotated_QR.tolist() == [[False, False, True], [False, True, False]]
    assert found.relevant_Q.tolist() == [2, 1]


def test_published_counts_repeats_and_the_own_clip():
    gallery = pa.table({"clip_id": ["b", "b", "a", "d"]})  # c is annotated for nobody: not in the gallery
    found = answers(runs(q1=["b", "b", "d", "a"], q2=["a"]), TRIPLETS, gallery, "published", "runs/x")
    assert found.hits_QR[0].tolist() == [True, True, False, True]
    assert found.annotated_QR[0].tolist() == [True, True, False, False]
    assert found.relevant_Q.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("ranked", "message"),
    [
        ({"q1": ["b"]}, "1 queries have no ranking.*q2"),
        ({"q1": ["b"], "q2": ["a"], "q3": ["a"]}, "unknown query.*q3"),
        ({"q1": ["b"], "q2": ["zzz"]}, "in no gallery.*zzz"),
        ({"q1": ["b", "b"], "q2": ["a"]}, "answers one query twice"),
        ({"q1": ["b", "a"], "q2": ["a"]}, "own clip is among its answers.*q1"),
    ],
)
def test_a_ranking_that_does_not_fit_is_one_clear_line(ranked, message):
    with pytest.raises(UserError, match=message):
        answers(runs(**ranked), TRIPLETS, GALLERY, "corrected", "runs/x")


def test_a_rank_given_twice_is_refused():
    twice = tables.from_rows(
        "runs",
        [{"query_id": q, "rank": 1, "clip_id": clip} for q, clip in (("q1", "b"), ("q1", "c"), ("q2", "a"))],
    )
    with pytest.raises(UserError, match=r"rank is given twice.*q1"):
        answers(twice, TRIPLETS, GALLERY, "corrected", "runs/x")


def test_triplets_that_cannot_be_answered_are_refused():
    ranked = runs(q1=["b"], q2=["a"])
    with pytest.raises(UserError, match="right answer is in no gallery"):
        answers(ranked, TRIPLETS, GALLERY.slice(0, 2), "corrected", "runs/x")
    only_itself = tables.from_rows("triplets", [{"query_id": "q1", "query_clip": "a", "target_clips": ["a"]}])
    with pytest.raises(UserError, match=r"no right answer.*q1"):
        answers(runs(q1=["b"]), only_itself, GALLERY, "corrected", "runs/x")
