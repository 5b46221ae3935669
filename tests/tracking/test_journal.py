"""The journal survives a kill at any byte."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from covr.storage import Place
from covr.tracking import Journal, RunLogger

STEPS = 12


def log(run: RunLogger) -> None:
    for step in range(STEPS):
        run.log_metrics({"loss": step / 7, "lr": 0.1}, step)


def whole(folder: str) -> bytes:
    run = RunLogger(Journal(Place(folder), "a"))
    log(run)
    return (Path(folder) / "tracking" / "a.jsonl").read_bytes()


@given(st.integers(0, 10_000))
def test_cut_at_any_byte_and_logged_again_nothing_is_lost_or_twice(cut):
    with TemporaryDirectory() as folder:
        data = whole(folder)
        path = Path(folder) / "tracking" / "a.jsonl"
        path.write_bytes(data[: cut % (len(data) + 1)])
        log(RunLogger(Journal(Place(folder), "a")))
        curves = Journal(Place(folder), "a").curves()
        assert curves == {
            "loss": [(step, step / 7) for step in range(STEPS)],
            "lr": [(step, 0.1) for step in range(STEPS)],
        }


def test_the_first_value_of_a_step_stays(tmp_path):
    run = RunLogger(Journal(Place(tmp_path), "a"))
    run.log_metrics({"loss": 1.0}, 3)
    run.log_metrics({"loss": 2.0, "lr": 0.5}, 3)
    assert run.journal.curves() == {"loss": [(3, 1.0)], "lr": [(3, 0.5)]}


def test_a_value_that_is_not_finite_is_kept(tmp_path):
    run = RunLogger(Journal(Place(tmp_path), "a"))
    run.log_metrics({"loss": math.nan}, 0)
    run.log_metrics({"loss": math.inf}, 1)
    (_, nan), (_, infinite) = run.journal.curves()["loss"]
    assert math.isnan(nan)
    assert math.isinf(infinite)


def test_writers_at_once_keep_their_lines_whole(tmp_path):
    journal = Journal(Place(tmp_path), "a")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: journal.append({"tags": {str(i): "x" * 500}}), range(400)))
    assert {key for record in journal.records() for key in record["tags"]} == {str(i) for i in range(400)}


def test_on_an_object_store():
    """Where nothing can be appended to, the journal is put again."""
    root = Place("memory://bucket/run")
    run = RunLogger(Journal(root, "a"))
    log(run)
    assert len(Journal(root, "a").curves()["loss"]) == STEPS
    assert [journal.key for journal in Journal.all(root)] == ["a"]


def test_unsent_until_marked_and_again_for_a_new_run(tmp_path):
    journal = Journal(Place(tmp_path), "a")
    journal.append({"run": "1"})
    journal.append({"tags": {"a": "b"}})
    records, mark = journal.unsent()
    assert records == [{"tags": {"a": "b"}}]
    journal.append(mark)
    assert journal.unsent()[0] == []
    journal.append({"run": "2"})
    assert journal.unsent()[0] == [{"tags": {"a": "b"}}]
    assert journal.run_id == "2"
