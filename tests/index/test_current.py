"""The pointer to the served pair."""

from __future__ import annotations

import pytest

from covr.errors import UserError
from covr.index.current import Current, place_of
from covr.storage import Place


def test_the_last_pair_written_is_read(tmp_path):
    root = Place(tmp_path)
    for snapshot in ("a", "b"):
        Current(snapshot=snapshot, retriever="retrievers/composed").write(root)
    current = Current.read(root)
    assert current == Current(snapshot="b", retriever="retrievers/composed")
    assert str(current.snapshot_place(root)) == str(tmp_path / "index" / "b")


def test_nothing_indexed_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"jobs/index\.py first"):
        Current.read(Place(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"snapshot": "a"}', '{"snapshot": "a", "retriever": "b", "c": 1}'])
def test_a_damaged_pointer_is_refused(tmp_path, text):
    place_of(Place(tmp_path)).write_bytes(text.encode())
    with pytest.raises(UserError, match="damaged"):
        Current.read(Place(tmp_path))
