"""A benchmark's protocol on a row of the comparison: which galleries are ranked, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from covr.errors import UserError
from covr.evaluate import lists
from covr.evaluate.metrics import DEEPEST
from covr.evaluate.protocols import BENCHMARKS, benchmark
from covr.evaluate.queries import Queries
from covr.evaluate.ranking import Column, Ranking
from covr.evaluate.truth import Truth

DEPTH = 2 * DEEPEST
"""Ranks asked for: a protocol drops the query's own clip and repeated ones from them."""

Runs = Callable[[str], pa.Table]
"""The `runs` table over a gallery of this name, the query's own clip ranked like any other."""


@dataclass(frozen=True, kw_only=True)
class Tested:
    """One row's numbers under one protocol, with the lists that they come from."""

    name: str
    row: str
    split: str
    columns: Mapping[str, Column]
    """None where the right answers are hidden."""
    rankings: Mapping[str, Ranking]
    """By gallery."""

    def column(self, reading: str | None) -> Column:
        """The named reading; None: the corrected one.

        Raises:
            UserError: the protocol has no such reading.
        """
        if not self.columns:
            fix = "a split with targets has one; the benchmark's server judges this one"
            raise UserError("no number without right answers", f"{self.name}: {self.split}", fix)
        chosen = reading or BENCHMARKS[self.name].corrected
        if chosen not in self.columns:
            fix = f"choose one of {', '.join(self.columns)}"
            raise UserError("no such reading of this protocol", f"{self.name}: test.reading={reading}", fix)
        return self.columns[chosen]

    def results(self) -> dict[str, Any]:
        """For results.json."""
        columns = {name: column.plain() for name, column in self.columns.items()}
        return {"protocol": self.name, "row": self.row, "columns": columns}


def names(asked: str | Sequence[str], data: str) -> list[str]:
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


def run_benchmark(name: str, row: str, queries: Queries, runs: Runs) -> Tested:
    """Rank the galleries that a protocol reads, and read them.

    Raises:
        UserError: the data set lacks a gallery of the protocol.
    """
    columns, rankings = {}, {}
    for reading_name, reading in benchmark(name).readings.items():
        gallery = reading.gallery
        if not queries.has_gallery(gallery):
            if reading.optional:
                continue
            gallery = "corrected"
        if gallery not in rankings:
            table = runs(gallery)
            truth = Truth.of(queries.triplets, queries.galleries, table["clip_id"])
            ranked_QR = lists.from_runs(table, truth.query_ids, truth.vocabulary, f"runs/{row}")
            rankings[gallery] = Ranking(truth=truth, ranked_QR=ranked_QR)
        if not rankings[gallery].truth.hidden:
            columns[reading_name] = reading.read(rankings[gallery])
    return Tested(name=name, row=row, split=queries.split, columns=columns, rankings=rankings)
