"""The score from which on a first answer is to be relied on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr.errors import UserError
from covr.evaluate.confidence import Confidence
from covr.storage import Place


@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=200),
    st.sampled_from([0.5, 0.8, 0.9, 1.0]),
)
def test_it_is_the_lowest_score_at_which_the_level_holds(answers, level):
    scores = np.array([score for score, _ in answers], np.float32)
    right = np.array([is_right for _, is_right in answers])
    holds = [
        score
        for score in sorted(set(scores.tolist()))
        if (scores >= score).sum() >= 30 and right[scores >= score].mean() >= level
    ]
    found = Confidence.of(scores, right, level)
    assert found.score == (holds[0] if holds else None)
    assert found.share == pytest.approx((scores >= holds[0]).mean() if holds else 0)
    assert found.reached(41.0) == bool(holds)
    if holds:
        assert found.reached(holds[0])
        assert not found.reached(holds[0] - 0.5)


def test_it_is_kept_under_the_retrievers_fingerprint(tmp_path):
    root = Place(tmp_path)
    found = Confidence.of(np.linspace(0, 1, 100), np.linspace(0, 1, 100) > 0.3, 0.9)
    found.write(root, "f1")
    assert Confidence.read(root, "f1") == found
    assert Confidence.read(root, "f2") is None
    (tmp_path / "index/confidence/f1.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        Confidence.read(root, "f1")
