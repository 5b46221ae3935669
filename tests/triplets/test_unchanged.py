"""Train triplets that ask for what the query is: a value of its own, answered by the other clips of its label."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from covr.triplets.unchanged import unchanged

VALUES = {"side": "left", "count": "2", "colour": "red", "place": ""}


@given(num_clips=st.integers(0, 12), asked=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_text_names_one_value_and_the_other_clips_are_right(num_clips, asked, seed):
    clips = [f"clip{n}" for n in range(num_clips)]
    rows = unchanged({"red": VALUES}, {("train", "red"): clips}, asked, 3, np.random.default_rng(seed))
    assert len(rows) == (min(asked, num_clips) if num_clips > 1 else 0)
    assert len({row["query_id"] for row in rows}) == len({row["query_clip"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row["target_clips"]) == set(clips) - {row["query_clip"]}
        assert len(row["target_clips"]) == num_clips - 1
        assert (row["split"], row["tags"]["edit"], row["target_label"]) == ("train", "none", "red")
        for text in row["modifications"]:
            assert not any(word in text for word in ("other side", "opposite", "mirrored", "more", "fewer", "not "))
            assert any(word in text for word in ("left", "twice", "two times", "2 times", "red")), text


def test_labels_of_other_splits_are_left_alone():
    rng = np.random.default_rng(0)
    assert not unchanged({"red": VALUES}, {("val", "red"): ["a", "b"], ("test", "red"): ["c", "d"]}, 2, 3, rng)
    assert not unchanged({"red": {"place": ""}}, {("train", "red"): ["a", "b"]}, 2, 3, rng)
