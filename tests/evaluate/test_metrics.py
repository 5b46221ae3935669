"""Metrics against brute force, against an outside tool, and against the published implementation's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covr import tables
from covr.evaluate.answers import answers
from covr.evaluate.metrics import (
    MAP_AT,
    RECALL_AT,
    Answers,
    average_precision,
    first_rank,
    median_rank,
    per_query,
    percent,
)
from covr.evaluate.rank import Own, rank_embeddings

GOLDEN = Path(__file__).parents[1] / "golden" / "tf_covr_metrics"

hits_and_missed = st.tuples(hnp.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 60))), st.integers(1, 5))


def judged(hits_QR: np.ndarray, missed: int = 0) -> Answers:
    """Hits whose first one is the annotated answer; `missed` right answers are nowhere in the list."""
    annotated_QR = hits_QR & (np.cumsum(hits_QR, axis=1) == 1)
    return Answers(hits_QR=hits_QR, annotated_QR=annotated_QR, relevant_Q=np.maximum(hits_QR.sum(axis=1) + missed, 1))


def by_hand(hits: list[bool], relevant: int, k: int) -> float:
    total, found = 0.0, 0
    for rank, hit in enumerate(hits[:k], 1):
        if hit:
            found += 1
            total += found / rank
    return total / min(relevant, k)


@given(hits_and_missed)
def test_equals_brute_force(case):
    found = judged(*case)
    values = per_query(found, "corrected")
    for q, hits in enumerate(found.hits_QR.tolist()):
        for k in MAP_AT:
            assert values[f"mAP@{k}"][q] == pytest.approx(by_hand(hits, int(found.relevant_Q[q]), k))
        for k in RECALL_AT:
            assert values[f"R@{k}"][q] == float(any(hits[:k]))
            assert values[f"R@{k}/annotated"][q] == float(any(hits[:k]))
        expected = hits.index(True) + 1 if any(hits) else np.inf
        assert first_rank(found.hits_QR)[q] == expected


@given(hits_and_missed)
def test_bounded_and_no_worse_with_more_right_answers_first(case):
    found = judged(*case)
    for value in per_query(found, "corrected").values():
        assert ((value >= 0) & (value <= 1 + 1e-12)).all()
    sorted_first = judged(np.sort(found.hits_QR, axis=1)[:, ::-1], case[1])
    for k in MAP_AT:
        assert (
            average_precision(sorted_first.hits_QR, sorted_first.relevant_Q, k) + 1e-12
            >= average_precision(found.hits_QR, found.relevant_Q, k)
        ).all()


@given(hits_and_missed)
def test_an_outside_tool_agrees(case):
    """trec_eval divides AP by all right answers; ours by at most K of them, and says so."""
    found = judged(*case)
    qrels, run = [], []
    for q, hits in enumerate(found.hits_QR):
        right = [f"d{r}" for r in np.nonzero(hits)[0]] + [
            f"missed{i}" for i in range(int(found.relevant_Q[q] - hits.sum()))
        ]
        qrels += [ir_measures.Qrel(f"q{q}", doc, 1) for doc in right]
        run += [ir_measures.ScoredDoc(f"q{q}", f"d{r}", float(-r)) for r in range(len(hits))]
    wanted = [ir_measures.AP @ 10, ir_measures.Success @ 5]
    theirs = {(m.query_id, str(m.measure)): m.value for m in ir_measures.iter_calc(wanted, qrels, run)}
    ours = per_query(found, "corrected")
    for q in range(len(found.hits_QR)):
        share = found.relevant_Q[q] / min(found.relevant_Q[q], 10)
        assert ours["mAP@10/trec"][q] == pytest.approx(theirs[f"q{q}", "AP@10"], abs=1e-6)
        assert ours["mAP@10"][q] == pytest.approx(theirs[f"q{q}", "AP@10"] * share, abs=1e-6)
        assert ours["R@5"][q] == theirs[f"q{q}", "Success@5"]


def golden(case: str) -> tuple[dict, pa.Table, np.ndarray, np.ndarray]:
    facts = json.loads(GOLDEN.with_suffix(".json").read_text())[case]
    arrays = np.load(GOLDEN.with_suffix(".npz"))
    vectors = [arrays[f"{case}/{name}"] for name in ("query", "emb")]
    query_QD, clip_CD = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in vectors)
    rows = [
        {"query_id": str(i), "query_clip": clip, "target_clips": [target, *(t for t in every if t != target)]}
        for i, (clip, target, every) in enumerate(facts["queries"])
    ]
    return facts, tables.from_rows("triplets", rows), query_QD, clip_CD


def ranked(facts: dict, triplets: pa.Table, query_QD, clip_CD, gallery: list[str], own: Own) -> pa.Table:
    return rank_embeddings(
        query_QD,
        clip_CD[[facts["clips"].index(clip) for clip in gallery]],
        query_ids=triplets["query_id"].to_pylist(),
        query_clips=triplets["query_clip"].to_pylist(),
        gallery_clips=gallery,
        depth=50,
        own=own,
    )


@pytest.mark.parametrize("case", ["small", "nodup", "mid"])
def test_published_protocol_to_the_last_digit(case):
    facts, triplets, query_QD, clip_CD = golden(case)
    gallery = [target for _, target, _ in facts["queries"]]
    run = ranked(facts, triplets, query_QD, clip_CD, gallery, own="last")
    found = percent(per_query(answers(run, triplets, pa.table({"clip_id": gallery}), "published", case), "published"))
    for k in MAP_AT:
        assert round(found[f"mAP@{k}/published"], 2) == facts["mAP"][str(k)]
        assert round(found[f"R@{k}/published"], 2) == facts["recall"][str(k)]


def test_corrected_protocol_is_the_deduplicated_one_where_no_query_is_its_own_answer():
    facts, triplets, query_QD, clip_CD = golden("nodup")
    gallery = sorted({clip for _, target, every in facts["queries"] for clip in (target, *every)})
    run = ranked(facts, triplets, query_QD, clip_CD, gallery, own="left out")
    found = percent(per_query(answers(run, triplets, pa.table({"clip_id": gallery}), "corrected", ""), "corrected"))
    for k in MAP_AT:
        assert round(found[f"mAP@{k}"], 2) == facts["mAP_dedup"][str(k)]


def test_median_rank_beyond_the_ranks_kept_is_none():
    assert median_rank(judged(np.array([[False, True], [False, False], [False, False]]))) is None
    assert median_rank(judged(np.array([[False, True], [True, False], [False, False]]))) == 2
