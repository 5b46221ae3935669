"""The sheet shows failures first and says what is right."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.compute as pc

from covr.report.sheet import ANSWERS, MOST_FAILURES, SHOWN, sheet


def test_failures_first_of_different_pairs_then_successes(asked, ranked):
    shown = sheet(asked, ranked)
    assert len(shown) == SHOWN
    failed = [each.rank is None or each.rank > ANSWERS for each in shown]
    assert failed == sorted(failed, reverse=True)
    assert 0 < sum(failed) <= MOST_FAILURES
    ranks = [each.rank for each, miss in zip(shown, failed, strict=True) if miss]
    assert ranks == sorted(ranks, reverse=True)
    pairs = [each.tags["pair"] for each, miss in zip(shown, failed, strict=True) if miss]
    assert len(set(pairs)) == len(pairs)


def test_answers_are_the_top_five_and_rightly_marked(asked, ranked):
    right_of = {row["query_id"]: row["target_clips"] for row in asked.triplets.to_pylist()}
    for each in sheet(asked, ranked):
        assert len(each.answers) == ANSWERS
        assert [answer.right for answer in each.answers] == [
            answer.clip_id in right_of[each.query_id] for answer in each.answers
        ]
        first = next((place for place, answer in enumerate(each.answers, 1) if answer.right), None)
        assert first == (each.rank if each.rank is not None and each.rank <= ANSWERS else None)
        assert each.text.endswith(each.target_label)


def test_few_queries_are_all_shown(asked, ranked):
    few = replace(asked, triplets=asked.triplets.slice(0, 3))
    mine = ranked.filter(pc.is_in(ranked["query_id"], few.triplets["query_id"].combine_chunks()))
    assert {each.query_id for each in sheet(few, mine)} == {"q000", "q001", "q002"}
