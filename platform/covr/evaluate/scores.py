"""The metrics of single queries: scores.parquet, by which two runs are compared query by query."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from covr import tables
from covr.errors import UserError
from covr.evaluate.metrics import MAP_AT, RECALL_AT
from covr.evaluate.queries import Queries
from covr.evaluate.results import Scores, clusters

FILE = "scores.parquet"
METRICS = (*(f"mAP@{k}" for k in MAP_AT), *(f"R@{k}" for k in RECALL_AT))


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """One row's values, in the order of the query ids."""

    query_ids: list[str]
    clusters: list[str]
    queries: str
    """Fingerprint of the queries that were answered; equal ones can be compared."""
    values: dict[str, np.ndarray]
    """By metric, (Q,), as shares."""


def write(scores: Mapping[str, Scores], queries: Queries) -> bytes:
    """The file: table `scores`, a line for each row, metric and query."""
    of_query = queries.triplets["query_id"].combine_chunks()
    cluster_of = pa.array(clusters(queries), pa.string())
    parts = [
        pa.table(
            [
                pa.repeat(row, len(of_query)),
                pa.repeat(metric, len(of_query)),
                of_query,
                cluster_of,
                pa.array(scored.values[metric].astype(np.float32)),
                pa.repeat(queries.origin, len(of_query)),
            ],
            schema=tables.SCORES,
        )
        for row, scored in scores.items()
        for metric in METRICS
        if metric in scored.values
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(parts), buffer, compression="zstd")
    return buffer.getvalue()


def read(data: bytes, row: str, where: str) -> RowScores:
    """One row of the file.

    Raises:
        UserError: it is not such a file, or has no such row.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
    except pa.ArrowInvalid:
        raise UserError("not a table of scores", where, "run jobs/evaluate.py again") from None
    table = tables.check(table, "scores", where)
    known = pc.unique(table["row"]).to_pylist()
    if row not in known:
        raise UserError(f"there is no row {row!r}", where, f"choose one of {', '.join(known)}")
    table = table.filter(pc.equal(table["row"], row)).sort_by("query_id")
    values = {
        metric: table.filter(pc.equal(table["metric"], metric))["value"].to_numpy().astype(np.float64)
        for metric in pc.unique(table["metric"]).to_pylist()
    }
    first = table.filter(pc.equal(table["metric"], next(iter(values))))
    return RowScores(
        query_ids=first["query_id"].to_pylist(),
        clusters=first["cluster"].to_pylist(),
        queries=first["queries"][0].as_py(),
        values=values,
    )
