"""Tables in a place: whole or not at all, whatever is written beside them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covr import tables
from covr.errors import UserError
from covr.storage import Place, TableStore


def gallery(*clips: str):
    return tables.from_rows("galleries", [{"gallery_id": "g", "clip_id": clip} for clip in clips])


@given(st.lists(st.lists(st.text(max_size=8), max_size=30), min_size=1, max_size=4), st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_what_is_published_last_is_what_is_read(tmp_path_factory, generations, rows_per_part):
    store = TableStore(Place(tmp_path_factory.mktemp("store")), "galleries")
    for number, clips in enumerate(generations):
        store.publish(gallery(*clips), f"{number:032x}", rows_per_part)
        assert store.read().column("clip_id").to_pylist() == clips
        assert store.manifest()["rows"] == len(clips)
    files = set(store.place.list())
    assert files == {*store.parts(), "manifest.json"}  # nothing stale is left


def test_an_unfinished_publish_leaves_the_old_rows(tmp_path):
    store = TableStore(Place(tmp_path), "galleries")
    store.publish(gallery("a", "b"), "0" * 32)
    store.write_part("part-of-a-killed-publish", gallery("c"))
    assert store.read().column("clip_id").to_pylist() == ["a", "b"]


def test_a_growing_table_counts_each_part_once(tmp_path):
    store = TableStore(Place(tmp_path), "galleries")
    assert store.read().num_rows == 0
    store.write_part("x", gallery("a"))
    store.write_part("x", gallery("a"))
    store.write_part("y", gallery("b"))
    assert store.read().column("clip_id").to_pylist() == ["a", "b"]


def test_another_version_is_refused(tmp_path):
    store = TableStore(Place(tmp_path), "galleries")
    old = gallery("a").replace_schema_metadata({"covr.table": "galleries", "covr.version": "0"})
    with pytest.raises(UserError, match="version 0"):
        store.write_part("x", old)


def test_a_damaged_or_missing_part_is_named(tmp_path):
    store = TableStore(Place(tmp_path), "galleries")
    store.publish(gallery("a"), "0" * 32)
    (tmp_path / store.parts()[0]).write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="damaged part"):
        store.read()
    (tmp_path / store.parts()[0]).unlink()
    with pytest.raises(UserError, match="damaged part"):
        store.read()


def test_a_table_never_written_names_the_job_that_writes_it(tmp_path):
    with pytest.raises(UserError, match=r"run jobs/ingest.py first"):
        TableStore(Place(tmp_path), "clips").require(made_by="ingest")


def _write_for_ever(path: str) -> None:
    place = Place(path)
    for number in range(10**9):
        place.write_bytes(str(number % 10).encode() * 200_000)


def test_a_reader_never_sees_half_a_file_though_the_writer_is_killed(tmp_path):
    place = Place(tmp_path / "file")
    writer = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(str(place),))
    writer.start()
    try:
        while not place.exists():
            time.sleep(0.01)
        for _ in range(50):
            data = place.read_bytes()
            assert len(data) == 200_000
            assert len(set(data)) == 1
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    assert len(place.read_bytes()) == 200_000


def test_a_path_may_not_leave_its_root(tmp_path):
    with pytest.raises(UserError, match="leave its storage root"):
        Place(tmp_path) / "../elsewhere"
