"""Tables, frames, journals and training checkpoints on an S3 server and on one of Google's kind."""

from __future__ import annotations

import pickle
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from gcs_store import gcs_store
from s3_store import s3_store

from covr import tables
from covr.embed.frames import _INDEX, FrameCache, _publish, _write_part
from covr.errors import UserError
from covr.storage import Place, TableStore
from covr.storage.remote import for_arrow
from covr.tracking.journal import Journal
from covr.tracking.runs import RunLogger


@pytest.fixture(scope="module", params=[s3_store, gcs_store], ids=["s3", "gs"])
def store(request):
    with request.param() as store:
        yield store


@pytest.fixture
def root(store, request) -> Place:
    return Place(f"{store.root}/{request.function.__name__}")


def texts(*ids: str) -> pa.Table:
    rows = [{"owner_id": each, "kind": "caption", "text": "t", "writer": "w"} for each in ids]
    return tables.from_rows("texts", rows)


def test_a_place_reads_what_another_process_wrote(root):
    assert not (root / "a").exists()
    assert root.list() == []
    pickle.loads(pickle.dumps(root / "a")).write_bytes(b"1")  # a Place of its own, as in a worker
    assert (root / "a").read_bytes() == b"1"
    assert root.list() == ["a"]
    with pytest.raises(UserError, match="no such file"):
        (root / "b").read_bytes()
    root.remove()
    assert root.list() == []


def test_a_reader_sees_the_old_rows_or_the_new(root):
    table = TableStore(root / "texts", "texts")
    table.publish(texts("a", "b"), "1" * 32)
    parts = table.parts()
    other = TableStore(Place(str(root / "texts")), "texts")
    other.write_part("part-unfinished", texts("c"))  # a writer that died before its manifest
    assert table.parts() == parts
    assert table.read()["owner_id"].to_pylist() == ["a", "b"]
    other.publish(texts("c"), "2" * 32)
    assert table.read()["owner_id"].to_pylist() == ["c"]
    assert len((root / "texts").list()) == 2  # one part and the manifest


def test_writers_of_one_journal_do_not_put_over_each_other(root):
    """Training workers log while the driver's thread notes what MLflow has."""
    journal = Journal(root, "run")
    journal.append({"start": "x", "parent": None, "params": {}, "time": 0, "step": "s"})
    driver = RunLogger(journal)
    workers = [pickle.loads(pickle.dumps(driver)) for _ in range(2)]

    def log(number: int) -> None:
        for step in range(20):
            workers[number].log_metrics({f"loss{number}": step}, step)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    sent = []
    while any(thread.is_alive() for thread in threads):
        records, mark = journal.unsent()
        journal.append(mark)
        sent += records
    records, mark = journal.unsent()
    journal.append(mark)
    sent += records
    assert journal.unsent()[0] == []
    assert sorted(next(iter(r["metrics"].items())) for r in sent if "metrics" in r) == sorted(
        (f"loss{number}", float(step)) for number in range(2) for step in range(20)
    )
    assert Journal(root, "run").curves() == {f"loss{n}": [(step, float(step)) for step in range(20)] for n in range(2)}
    assert [each.key for each in Journal.all(root)] == ["run"]
    workers[0].log_metrics({"loss0": 5.0}, 5)  # known already, from whichever process
    assert journal.unsent()[0] == []


def test_frames_are_read_from_an_object_store(root):
    frames = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    place = root / "frames"
    clips = pa.table({"clip_id": ["a"], "key": ["k"], "frames": [frames.tobytes()], "shape": [list(frames.shape)]})
    _write_part(place, clips.cast(pa.schema([*list(_INDEX)[:2], ("frames", pa.large_binary()), _INDEX.field("shape")])))
    _publish(place, clips, clips["key"])
    found = pickle.loads(pickle.dumps(FrameCache.open(place))).frames("a")
    np.testing.assert_array_equal(found, frames)
    assert not found.flags.writeable


def test_checkpoints_go_through_the_same_store(root):
    files = pickle.loads(pickle.dumps(for_arrow(str(root))))
    with files.open_output_stream(f"{root.path}/checkpoint/state") as file:
        file.write(b"weights")
    assert (root / "checkpoint/state").read_bytes() == b"weights"


@pytest.mark.parametrize("listening", [True, False])
def test_a_store_that_is_away_for_seconds_is_waited_for(store, root, listening):
    place = root / "late"
    store.wire.cut(listening)
    threading.Timer(4, store.wire.mend).start()
    begin = time.monotonic()
    place.write_bytes(b"1")
    assert time.monotonic() - begin > 3
    assert place.read_bytes() == b"1"
