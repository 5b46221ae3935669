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

    def vectors(self, queries: Queries) -> tuple[np.ndarray, np.ndarray | None]: ...


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
    answers = queries.triplets["target_clips"].to_pylist()
    found = []
    for row in _inputs(cfg.inputs, rows) if asked else ():
        for name in asked:
            entry: dict[str, Any] = {"protocol": name, "row": row.name, "readings": {}, "files": []}
            if BENCHMARKS[name].vectors:
                entry["files"] += _write_vectors(job, row, queries)
            if any(answers) or not BENCHMARKS[name].vectors:  # where they are hidden, vectors are all that is asked for
                tested = rank_and_read(name, row.name, queries, partial(_runs, job, row, queries))
                entry["readings"] = {reading: column.plain() for reading, column in tested.columns.items()}
                entry["files"] += _write_known(job, tested, queries)
            found.append(entry)
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


def _write_known(job: Job, tested: Tested, queries: Queries) -> list[str]:
    """Write the JSON files that users of this benchmark know; returns their names."""
    written = known_files(tested, job.cfg.test.reading, _annotation(job, queries.split))
    for name, value in written.items():
        (job.root / name).write_json(value)
    return list(written)


def _write_vectors(job: Job, row: RankingRow, queries: Queries) -> list[str]:
    """Write the vectors of the queries, and of their answers where they are not hidden; returns the files' names."""
    output = OUTPUTS[row.name]
    query_QD, target_QD = row.vectors(queries)
    _save(job.root / output.features, query_QD)
    if target_QD is None:
        return [output.features]
    _save(job.root / output.targets, target_QD)
    AnnotatedRows.of(_annotation(job, queries.split), queries.triplets).write(job.root / ROWS)
    return [output.features, output.targets, ROWS]


def _save(place: Place, values_ND: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, values_ND.astype(np.float32), allow_pickle=False)
    place.write_bytes(file.getvalue())


def _annotation(job: Job, split: str) -> str:
    """Name of the annotation file of the split, where the data set has one a split."""
    return PurePath(str((job.cfg.data.get("files") or {}).get(split, job.cfg.data.name))).name
