"""Exact search against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from covr.index.exact import top_k


@st.composite
def searches(draw):
    """Small integer vectors, so that inner products are exact and ties abound."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_rows, num_queries, dim = draw(st.integers(1, 60)), draw(st.integers(1, 4)), draw(st.integers(1, 6))
    vectors = rng.integers(-2, 3, (num_rows, dim)).astype(np.float32)
    queries = rng.integers(-2, 3, (num_queries, dim)).astype(np.float32)
    excluded = [rng.choice(num_rows, rng.integers(0, num_rows + 1), replace=False) for _ in range(num_queries)]
    return queries, vectors, draw(st.integers(1, 70)), excluded, draw(st.integers(1, 64))


@settings(max_examples=200, deadline=None)
@given(searches())
def test_equals_brute_force_at_any_block_size(search):
    queries, vectors, k, excluded, block = search
    found = top_k(queries, vectors, k, excluded, block)
    for query, (scores, rows) in enumerate(found):
        product = [(-float(queries[query] @ vector), row) for row, vector in enumerate(vectors)]
        expected = sorted(pair for pair in product if pair[1] not in set(excluded[query].tolist()))[:k]
        assert rows.tolist() == [row for _, row in expected]
        assert scores.tolist() == [-score for score, _ in expected]


def test_nothing_excluded_for_any_query_needs_no_list():
    vectors = np.eye(3, dtype=np.float32)
    ((scores, rows),) = top_k(vectors[1:2], vectors, 2)
    assert (scores.tolist(), rows.tolist()) == ([1.0, 0.0], [1, 0])
