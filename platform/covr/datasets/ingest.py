"""ingest: a data set becomes the tables that every later step reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

from covr.cluster.session import connect
from covr.config.compose import build
from covr.datasets.dataset import Reader, validate
from covr.job import Job
from covr.report.console import say
from covr.storage import TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger

PUBLISHED = ("clips", "texts", "triplets", "galleries")


def ingest(job: Job) -> dict[str, Any]:
    """Read the data set of `job.cfg.data` and publish clips, texts, triplets and galleries.

    Refused rows become parts of the growing quarantine table. Returns rows by table and the reader's own facts.
    """
    reader: Reader = build(job.cfg.data)
    places = {name: job.root / "tables" / name for name in (*PUBLISHED, "quarantine")}

    def work(run: RunLogger) -> dict[str, Any]:
        connect(job.cfg.machine)
        dataset = reader.read(job.root)
        validate(dataset)
        rows = {field.name: getattr(dataset, field.name) for field in fields(dataset)}
        mark = fingerprint(reader.name, dataset.clips["sha256"].to_pylist(), dataset.triplets["query_id"].to_pylist())
        if len(dataset.quarantine):
            TableStore(places["quarantine"], "quarantine").write_part(f"ingest-{mark[:12]}", dataset.quarantine)
        for name in PUBLISHED:
            TableStore(places[name], name).publish(rows[name], fingerprint(mark, name))
        splits = Counter(dataset.clips["split"].to_pylist())
        say("  clips " + ", ".join(f"{split} {count}" for split, count in splits.items()))
        counts = {f"rows/{name}": len(table) for name, table in rows.items()}
        run.log_metrics(counts, 0)
        return {"rows": {name: len(table) for name, table in rows.items()}, "dataset": mark}

    return job.step(
        "ingest",
        settings=job.cfg.data,
        inputs={"reader": reader.version},
        outputs=[places[name] / "manifest.json" for name in PUBLISHED],
        work=work,
    )
