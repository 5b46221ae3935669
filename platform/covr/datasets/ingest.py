"""Ingest: a reader's data set becomes the published tables that every later step reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from covr.cluster.session import connect
from covr.config.compose import build
from covr.datasets.dataset import Reader, counts, validate
from covr.job import Job
from covr.storage import TableStore
from covr.storage.store import MANIFEST
from covr.tracking import RunLogger

TABLES = ("clips", "texts", "triplets", "galleries")


def ingest(job: Job) -> dict[str, Any]:
    """Read the data set that `data` names and publish its clips, texts, triplets, galleries and quarantine.

    Returns:
        Rows by table and split, the reader's own figures, the step's fingerprint.

    Raises:
        UserError: the reader refuses its options or files, or its tables do not fit each other.
    """
    reader: Reader = build(job.cfg.data)
    stores = {name: TableStore(job.root / "tables" / name, name) for name in (*TABLES, "quarantine")}

    def work(run: RunLogger) -> Mapping[str, Any]:
        connect(job.cfg.machine)
        dataset = validate(reader.read(job.root), reader.name)
        stores["quarantine"].write_part("ingest", dataset.quarantine)
        for name in TABLES:
            table = getattr(dataset, name)
            stores[name].publish(table, _fingerprint(table))
        result = {**counts(dataset), **dataset.facts}
        run.log_metrics(result, step=0)
        return result

    return job.step(
        "ingest",
        settings=job.cfg.data,
        inputs={"source": reader.fingerprint()},
        outputs=[store.place / MANIFEST for name, store in stores.items() if name in TABLES],
        work=work,
    )


def _fingerprint(table: pa.Table) -> str:
    """A hash of the rows, so that the same rows made again are the same input to the next step."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()[:32]
