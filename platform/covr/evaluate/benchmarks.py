"""The benchmarks' protocols on the rows of the comparison: galleries ranked, numbers read, known files written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from covr.errors import UserError
from covr.evaluate.known_files import known_files
from covr.evaluate.metrics import DEEPEST
from covr.evaluate.protocols import BENCHMARKS, benchmark
from covr.evaluate.queries import Queries
from covr.evaluate.rank import Own
from covr.evaluate.tested import Tested, rank_and_read
from covr.evaluate.vectors import OUTPUTS, ROWS, AnnotatedRows
from covr.job import Job
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint

DEPTH = 2 * DEEPEST
"""Ranks asked for: a protocol drops the query's own clip and repeated ones from them."""


class RankingRow(Protocol):
    """A row of the comparison, as much of it as is needed here."""

    name: str

    @property
    def fingerprint(self) -> str: ...

    def runs(self, queries: Queries, gallery: str, depth: int, own: Own) -> pa.Table: ...

    def vectors(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]: ...


def benchmark_names(asked: str | Sequence[str], data: str) -> list[str]:
    """The protocols that `test.benchmarks` names; `all` stands for those of the data set.

    Raises:
        UserError: an unknown name, or a data set without a protocol of its own.
    """
    if asked != "all":
        return [name for name in ([asked] if isinstance(asked, str) else asked) if benchmark(name)]
    found = [name for name, each in BENCHMARKS.items() if each.data == data]
    if not found:
        fix = f"name some: test.benchmarks=[...] of {', '.join(BENCHMARKS)}"
        raise UserError("this data set has no protocol of its own", f"test=all data={data}", fix)
    return found


def run_benchmarks(
    job: Job, asked: Sequence[str], queries: Queries, rows: Sequence[RankingRow]
) -> list[dict[str, Any]]:
    """Score the rows of `test.inputs` under each protocol asked for, and write the files that it is known by.

    Returns the entries of results.json: protocol, row, readings, files.

    Raises:
        UserError: an input that is no row, or a gallery that the data set lacks.
    """
    cfg = job.cfg.test
    found = []
    for row in _inputs(cfg.inputs, rows) if asked else ():
        for name in asked:
            tested = rank_and_read(name, row.name, queries, partial(_runs, job, row, queries))
            files = _write(job, tested, row, queries)
            columns = {reading: column.plain() for reading, column in tested.columns.items()}
            found.append({"protocol": name, "row": row.name, "readings": columns, "files": files})
    return found


def _inputs(asked: str | Sequence[str], rows: Sequence[RankingRow]) -> list[RankingRow]:
    """The rows that are tested: those named, or (`all`) each that vectors have a known name for."""
    known = {row.name: row for row in rows if row.name in OUTPUTS}
    names = list(known) if asked == "all" else [asked] if isinstance(asked, str) else list(asked)
    for name in names:
        if name not in known:
            fix = f"choose of {', '.join(known)}; rows=[...] says which rows are evaluated"
            raise UserError("no such row to test", f"test.inputs={name}", fix)
    return [known[name] for name in names]


def _runs(job: Job, row: RankingRow, queries: Queries, gallery: str) -> pa.Table:
    """Publish and return the `runs` table of a row over a gallery."""
    runs = row.runs(queries, gallery, DEPTH, "ranked")
    made_from = fingerprint(queries.origin, row.fingerprint, gallery, DEPTH)
    TableStore(job.root / "runs" / f"{row.name}-in-{gallery}", "runs").publish(runs, made_from)
    return runs


def _write(job: Job, tested: Tested, row: RankingRow, queries: Queries) -> list[str]:
    """Write what users of this benchmark know: vectors and JSON files; returns their names."""
    annotation = _annotation(job, queries.split)
    written = known_files(tested, job.cfg.test.reading, annotation)
    for name, value in written.items():
        (job.root / name).write_json(value)
    if BENCHMARKS[tested.name].vectors and tested.columns:
        query_QD, target_QD = row.vectors(queries)
        names = (OUTPUTS[row.name].features, OUTPUTS[row.name].targets)
        for name, values in zip(names, (query_QD, target_QD), strict=True):
            _save(job.root / name, values)
        AnnotatedRows.of(annotation, queries.triplets).write(job.root / ROWS)
        return [*names, ROWS, *written]
    return list(written)


def _save(place: Place, values_ND: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, values_ND.astype(np.float32), allow_pickle=False)
    place.write_bytes(file.getvalue())


def _annotation(job: Job, split: str) -> str:
    """Name of the annotation file of the split, where the data set has one a split."""
    return PurePath(str((job.cfg.data.get("files") or {}).get(split, job.cfg.data.name))).name
