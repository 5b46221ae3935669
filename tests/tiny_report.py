"""A report of random answers on the tiny world, with a stage 1 and its curve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
from mlflow_root import tracking_on

from covr.evaluate import scores
from covr.evaluate.against import any_against_any
from covr.evaluate.queries import Queries
from covr.evaluate.results import Comparison, clusters, score
from covr.report.page import page
from covr.storage import Place


def build(filmed: Place, folder: Path) -> Place:
    """A copy of a storage root after ingest, with what stage 1 leaves."""
    shutil.copytree(filmed.local(), folder)
    root = Place(folder)
    labels = ["roll <i>", "jump"]
    (root / "pretrain" / "confusion.json").write_json({"labels": labels, "counts": [[9, 1], [4, 6]]})
    result = {"top1": 0.75, "top5": 1.0, "attributes": {"count": 0.8}}
    (root / "steps" / "pretrain.json").write_json({"state": "done", "result": result})
    run = tracking_on(root, "http://127.0.0.1:9").start("pretrain")
    for step in range(20):
        run.log_metrics({"loss": 2.0 / (step + 1), "lr": 0.1}, step)
    run.finish("FINISHED")
    return root


def rendered(root: Place, asked: Queries, ranked: pa.Table) -> str:
    """report.html with two rows, of the same answers; writes scores.parquet."""
    found = {row: score({"corrected": ranked}, asked, row) for row in ("composed", "text-only")}
    (root / scores.FILE).write_bytes(scores.write(found, asked))
    results = {
        "data": "tiny & <b>small</b>",
        "split": "test",
        "protocol": "both",
        "gallery": "g",
        "rows": Comparison(asked, 100, seed=0).rows(found),
        "pairs": any_against_any(found, clusters(asked)),
    }
    return page(root, results, asked, ranked).decode()
