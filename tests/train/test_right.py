from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr import tables
from covr.storage import Place
from covr.train.right import RightAnswers
from covr.train.vectors import Vectors

CLIPS = [f"clip{n}" for n in range(6)]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory) -> Vectors:
    place = Place(tmp_path_factory.mktemp("vectors")) / "v.arrow"
    Vectors.write(place, CLIPS, np.zeros((len(CLIPS), 2), np.float32))
    return Vectors(place)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(CLIPS), min_size=1, unique=True), st.sampled_from(["x", "y", None])),
        min_size=1,
        max_size=8,
    )
)
def test_what_is_listed_or_of_the_target_label_is_right(vectors, triplets):
    rows = [{"query_id": str(n), "target_clips": c, "target_label": label} for n, (c, label) in enumerate(triplets)]
    right = RightAnswers(tables.from_rows("triplets", rows), vectors)
    # Every triplet against every triplet's first answer, as the columns of a batch.
    queries = np.arange(len(rows))
    firsts = right.clips[right.starts]
    assert [CLIPS[clip] for clip in firsts] == [clips[0] for clips, _ in triplets]
    found = right.include(queries[:, None], firsts, right.labels)
    for i, (clips, label) in enumerate(triplets):
        for j, (others, other_label) in enumerate(triplets):
            assert found[i, j] == (others[0] in clips or (label is not None and label == other_label))
