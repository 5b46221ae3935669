"""TREC files keep the ranking, whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr import tables
from covr.errors import UserError
from covr.evaluate.trec import qrels_lines, run_lines

finite = st.floats(-(2.0**90), 2.0**90, width=32, allow_subnormal=False)


@given(st.lists(st.lists(finite, min_size=1, max_size=30), min_size=1, max_size=4))
def test_sorting_by_score_gives_the_ranks_back(scored):
    rows = [
        {"query_id": f"q{q}", "rank": rank, "clip_id": f"c{rank}", "score": score, "stage": "x"}
        for q, scores in enumerate(scored)
        for rank, score in enumerate(sorted(scores, reverse=True), 1)
    ]
    lines = [line.split(" ") for line in run_lines(tables.from_rows("runs", rows[::-1]), "tag").decode().splitlines()]
    for q, scores in enumerate(scored):
        mine = [line for line in lines if line[0] == f"q{q}"]
        assert all(len(line) == 6 and line[1] == "Q0" and line[5] == "tag" for line in mine)
        as_read = np.array([line[4] for line in mine]).astype(np.float32)
        assert (np.diff(as_read) < 0).all()
        order = np.argsort(-as_read)
        assert [int(mine[i][3]) for i in order] == list(range(1, len(scores) + 1))


def test_qrels_leave_the_own_clip_out():
    triplets = tables.from_rows("triplets", [{"query_id": "q", "query_clip": "a", "target_clips": ["c", "a", "b"]}])
    assert qrels_lines(triplets) == b"q 0 b 1\nq 0 c 1\n"


def test_an_id_with_a_space_is_refused():
    runs = tables.from_rows("runs", [{"query_id": "q", "rank": 1, "clip_id": "my clip", "score": 1.0}])
    with pytest.raises(UserError, match="my clip"):
        run_lines(runs, "x")
