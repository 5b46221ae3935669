"""`jobs/pipeline.py`, as `make demo` runs it: the whole loop, then nothing, then all that hangs on stage 1."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import ir_measures
import pytest
from mlflow import MlflowClient

from covr.storage import Place, TableStore

pytestmark = [pytest.mark.drill, pytest.mark.ci_slice, pytest.mark.timeout(900)]
REPO = Path(__file__).parents[2]
STEPS = ("ingest", "pretrain", "embed", "finetune/composed", "finetune/text-only", "finetune/video-only")
STEPS += ("finetune/average", "index", "evaluate")
CLIPS = 128


def running(mark: str) -> list[str]:
    """The processes that inherited an environment with this mark, Ray's among them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def pipeline(out: Path, *options: str) -> str:
    """What the job prints; it must end well and leave no process."""
    mark = f"covr-{uuid.uuid4().hex}"
    command = [sys.executable, "jobs/pipeline.py", "experiment=tiny", f"out={out}", *options]
    environment = {**os.environ, "MARK": mark}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    deadline = time.monotonic() + 15  # Ray's own processes end a moment after their parent
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running(mark) == []
    return done.stdout


def features(out: Path) -> dict[Path, int]:
    """Parts of the features tables and when they were written."""
    return {path: path.stat().st_mtime_ns for path in (out / "features").rglob("*.parquet")}


def runs(out: Path) -> int:
    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    return len(client.search_runs([client.get_experiment_by_name("covr").experiment_id]))


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("pipeline") / "out"
    return out, pipeline(out)


def test_it_ends_with_table_report_and_an_answered_query(first):
    out, said = first
    for step in STEPS:
        assert f"{step}: done in" in said
    table, _, query = said.partition("report: ")
    assert re.search(r"mAP@10 +(\d+\.\d +){4}\d+\.\d", table)
    assert Path(query.splitlines()[0]) == out / "report.html"
    assert (out / "report.html").exists()
    assert re.search(r"query: .* but: ", query)
    assert re.findall(r"│ +(\d) │ -?\d\.\d+ │ m[0-9a-f]{15} │ \((?:Floor|Beam)\)", query) == list("12345")


def test_an_outside_tool_finds_the_same_map(first):
    out, _ = first
    composed = Place(out / "results.json").read_json()["rows"][0]
    qrels, run = ir_measures.read_trec_qrels(f"{out}/qrels.trec"), ir_measures.read_trec_run(f"{out}/run.trec")
    found = ir_measures.calc_aggregate([ir_measures.AP @ 10], list(qrels), list(run))
    assert 100 * found[ir_measures.AP @ 10] == pytest.approx(composed["metrics"]["mAP@10"], abs=1e-4)


def test_again_nothing_is_computed(first):
    out, _ = first
    before, num_runs = features(out), runs(out)
    said = pipeline(out)
    for step in STEPS:
        assert f"{step}: up to date" in said
    assert "done in" not in said
    assert "query: " in said
    assert features(out) == before
    assert runs(out) == num_runs


def test_another_stage_1_checkpoint_computes_every_vector_again(first):
    out, _ = first
    before = features(out)
    said = pipeline(out, "model.pretrain.max_epochs=5", "rows=[composed,chance]")
    assert "ingest: up to date" in said
    for step in ("pretrain", "embed", "finetune/composed", "index", "evaluate"):
        assert f"{step}: done in" in said
    embedded = Place(out / "steps/embed.json").read_json()["result"]
    assert (embedded["computed"], embedded["reused"]) == (CLIPS, 0)
    assert len(TableStore(Place(embedded["place"]), "features").read()) == CLIPS
    after = features(out)
    assert after.keys() > before.keys()
    assert {path: after[path] for path in before} == before
