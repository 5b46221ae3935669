"""Query expansion against its sum written out."""

from __future__ import annotations

import numpy as np

from covr.index.expansion import expanded


def test_answers_are_added_by_their_scores_and_nothing_is_subtracted():
    rng = np.random.default_rng(0)
    queries, vectors = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rng.normal(size=(3, 8)), rng.normal(size=(5, 8)))
    )
    rows, scores = np.array([0, 0, 2, 2, 2]), np.array([0.9, 0.2, 0.5, -0.3, 0.1])
    found = expanded(queries, rows, scores, vectors)
    for row, query in enumerate(queries):
        for vector in vectors[rows == row] * np.maximum(scores[rows == row], 0)[:, None]:
            query = query + vector
        np.testing.assert_allclose(found[row], query / np.linalg.norm(query), rtol=1e-5)
    np.testing.assert_allclose(found[1], queries[1], rtol=1e-6)  # without answers it stays
