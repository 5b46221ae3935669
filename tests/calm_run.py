"""The tiny pipeline as a process of its own, and the outcome that a disturbed run is held against."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from safetensors.numpy import load_file

from covr.storage import Place, TableStore
from covr.tracking import Journal

REPO = Path(__file__).parents[1]
OPTIONS = ("data.size=tiny", "experiment=tiny", "rows=[composed,chance]")
RECORDS = {
    step: f"steps/{step}.json" for step in ("ingest", "pretrain", "embed", "finetune/composed", "index", "evaluate")
}
"""Records of the pipeline's steps, in their order."""
GLANCE_S = 0.1
LOG = "said.log"
SORT_BY = ("clip_id", "query_id", "rank", "stage", "gallery_id", "owner_id", "row", "metric")


def command(job: str, out: Path, *options: str) -> list[str]:
    """`jobs/<job>.py` on the tiny data and the tests' cluster."""
    address = ray.get_runtime_context().gcs_address
    return [sys.executable, f"jobs/{job}.py", *OPTIONS, f"out={out}", f"machine.address={address}", *options]


def job_of(step: str) -> str:
    """The job that does a step (a key of RECORDS)."""
    return step.partition("/")[0]


def run(step: str, out: Path) -> None:
    """The step's own job, to its end."""
    done = subprocess.run(command(job_of(step), out), cwd=REPO, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{step}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def pipeline(out: Path, glance: Callable[[subprocess.Popen, str], None], *options: str) -> int:
    """Run the whole pipeline, with a glance at it and the running step every tenth of a second; its exit status.

    A step that a killed run left as running is none before this run has taken it up.
    """
    begin = time.time()
    with (out / LOG).open("ab") as log:
        process = subprocess.Popen(
            command("pipeline", out, *options), cwd=REPO, start_new_session=True, stdout=log, stderr=log
        )
    while process.poll() is None:
        running = (step for step in RECORDS if record(step, out)["state"] == "running")
        glance(process, next((step for step in running if (out / RECORDS[step]).stat().st_mtime > begin), ""))
        time.sleep(GLANCE_S)
    return process.returncode


def said(out: Path) -> str:
    """What the pipelines on this storage root printed."""
    return (out / LOG).read_text()[-6000:]


def record(step: str, out: Path) -> dict:
    """The record of a step (a key of RECORDS)."""
    place = Place(out / RECORDS[step])
    return place.read_json() if place.exists() else {"state": "not begun"}


def rows(out: Path, name: str) -> pa.Table:
    """All rows of a table, wherever its parts lie, in an order that does not depend on the parts."""
    folders = sorted((out / name).glob("*")) if name in ("features", "runs") else [out / "tables" / name]
    table = pa.concat_tables([TableStore(Place(folder), name).read() for folder in folders])
    return table.sort_by([(key, "ascending") for key in SORT_BY if key in table.column_names])


def metrics(out: Path) -> dict[str, dict[str, float]]:
    """The metrics of each row of the comparison."""
    return {row["row"]: row["metrics"] for row in Place(out / "results.json").read_json()["rows"]}


def assert_same_tables(calm: Path, other: Path) -> None:
    """Tables to the bit; what was computed from floats within rounding."""
    for name in ("clips", "texts", "triplets", "galleries", "quarantine"):
        assert rows(other, name).equals(rows(calm, name)), name
    expected, found = rows(calm, "features"), rows(other, "features")
    assert found["clip_id"].to_pylist() == expected["clip_id"].to_pylist()
    np.testing.assert_allclose(np.array(found["value"].to_pylist()), np.array(expected["value"].to_pylist()), atol=1e-5)


def assert_same_models(calm: Path, other: Path) -> None:
    """The trained weights within rounding, and the same files of them."""
    files = sorted(path.relative_to(calm) for path in calm.glob("retrievers/*/*.safetensors"))
    assert files
    assert files == sorted(path.relative_to(other) for path in other.glob("retrievers/*/*.safetensors"))
    for name in files:
        weights, others = load_file(calm / name), load_file(other / name)
        assert weights.keys() == others.keys()
        for key, weight in weights.items():
            np.testing.assert_allclose(others[key], weight, atol=1e-4, err_msg=f"{name}: {key}")


def assert_same_results(calm: Path, other: Path) -> None:
    """Each metric of each row, and as many ranked answers."""
    expected, found = metrics(calm), metrics(other)
    assert found.keys() == expected.keys()
    for row, values in expected.items():
        assert found[row] == pytest.approx(values, abs=1e-3), row
    assert len(rows(other, "runs")) == len(rows(calm, "runs"))


def assert_nothing_twice(out: Path) -> None:
    """One journal a step, and in it each step of a curve once."""
    journals = Journal.all(Place(out))
    names = [journal.key.rpartition("-")[0] for journal in journals]
    assert len(names) == len(set(names)), names
    for journal in journals:
        for key, points in journal.curves().items():
            steps = [step for step, _ in points]
            assert len(steps) == len(set(steps)), f"{journal.key}: {key}"


def assert_same(calm: Path, other: Path) -> None:
    """All of it."""
    assert_same_tables(calm, other)
    assert_same_models(calm, other)
    assert_same_results(calm, other)
    assert_nothing_twice(other)
