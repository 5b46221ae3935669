import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr import tables
from covr.clips import Sampling
from covr.embed.keys import keys
from covr.errors import UserError

WORK = ("encoder", Sampling(num_frames=8), "decord-0.6.0+av-18.1.0")


def clip(**changed):
    return {"clip_id": "a", "sha256": "00ff", "start_s": 1.5, "end_s": None, **changed}


def key(row, work=WORK):
    (found,) = keys(tables.from_rows("clips", [row]), *work).to_pylist()
    return found


def test_a_key_changes_with_all_it_depends_on_and_nothing_else():
    rows = [
        clip(),
        clip(sha256="00fe"),
        clip(start_s=None),
        clip(start_s=1.25),
        clip(end_s=1.5),
        clip(start_s=None, end_s=1.5),
    ]
    works = [
        ("other", *WORK[1:]),
        (WORK[0], Sampling(num_frames=9), WORK[2]),
        (WORK[0], Sampling(kind="covr", num_frames=8), WORK[2]),
        (*WORK[:2], "av-18.1.0"),
    ]
    found = [key(row) for row in rows] + [key(clip(), work) for work in works]
    assert len(set(found)) == len(found)
    assert key(clip(clip_id="b", uri="media/b.mp4", label="x", num_frames=3)) == key(clip())


def test_a_key_stays_what_it_is():
    """Every stored feature would be computed again if this changed."""
    assert key(clip()) == "724a20fdd54695fefef45ea0e11b36be"


@given(st.lists(st.tuples(st.text("0123456789abcdef", min_size=1), st.none() | st.floats(0, 1e6)), max_size=20))
def test_keys_of_a_table_are_those_of_its_rows(drawn):
    rows = [clip(sha256=sha256, start_s=start_s) for sha256, start_s in drawn]
    assert keys(tables.from_rows("clips", rows), *WORK).to_pylist() == [key(row) for row in rows]


def test_a_clip_without_hash_is_refused():
    with pytest.raises(UserError, match="sha256"):
        key(clip(sha256=None))
