"""ingest: a data set becomes the tables that every later step reads."""

from __future__ import annotations

from collections import Counter
from typing import Any

from covr.cluster.session import connect
from covr.config.compose import build
from covr.datasets.dataset import TABLES, Reader, validate
from covr.job import Job
from covr.report.console import say
from covr.storage import TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger

PUBLISHED = ("clips", "texts", "triplets", "galleries")
COVERAGE = "tables/coverage.json"
"""How much of what the annotations name is there; belongs to every number computed from the tables."""


def ingest(job: Job) -> dict[str, Any]:
    """Read the data set of `job.cfg.data` and publish clips, texts, triplets and galleries.

    Refused rows become a part of the growing quarantine table. Returns rows by table and the reader's own facts.
    """
    reader: Reader = build(job.cfg.data)
    places = {name: job.root / "tables" / name for name in (*PUBLISHED, "quarantine")}

    def work(run: RunLogger) -> dict[str, Any]:
        if reader.on_ray:
            connect(job.cfg.machine)
        dataset = reader.read(job.root)
        validate(dataset)
        rows = {name: getattr(dataset, name) for name in TABLES}
        mark = dataset.fingerprint()
        TableStore(places["quarantine"], "quarantine").write_part("ingest", dataset.quarantine)
        (job.root / COVERAGE).write_json(dataset.coverage)
        for name in PUBLISHED:
            TableStore(places[name], name).publish(rows[name], fingerprint(mark, name))
        splits = Counter(dataset.clips["split"].to_pylist())
        say("  clips " + ", ".join(f"{split} {count}" for split, count in splits.items()))
        counts = {f"rows/{name}": len(table) for name, table in rows.items()}
        run.log_metrics(counts, 0)
        facts = {"rows": {name: len(table) for name, table in rows.items()}, "dataset": mark}
        return {**facts, "coverage": dataset.coverage}

    return job.step(
        "ingest",
        settings=job.cfg.data,
        inputs={"reader": reader.version},
        outputs=[places[name] / "manifest.json" for name in PUBLISHED],
        work=work,
    )
