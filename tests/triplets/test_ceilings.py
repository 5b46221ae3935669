"""The oracle's expected score equals brute force over the ranking that it would make."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covr.triplets.ceilings import oracle_map


def brute_force(evidence, targets, sizes):
    scores = []
    for sight, target in zip(evidence, targets, strict=True):
        seen = Counter(t for e, t in zip(evidence, targets, strict=True) if e == sight)
        ranked = [label for label, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))]
        hits = np.array([label == target for label in ranked for _ in range(sizes[label])][:10])
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        scores.append((precision * hits).sum() / min(sizes[target], 10))
    return np.mean(scores)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcde")), min_size=1, max_size=40),
    st.lists(st.integers(1, 13), min_size=5, max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_oracle_map_equals_brute_force(queries, sizes):
    evidence, targets = zip(*queries, strict=True)
    sizes = dict(zip("abcde", sizes, strict=True))
    assert oracle_map(evidence, targets, sizes) == pytest.approx(brute_force(evidence, targets, sizes))


def test_an_oracle_whose_evidence_tells_all_is_perfect():
    assert oracle_map(["x", "y"], ["a", "b"], {"a": 10, "b": 10}) == 1.0
