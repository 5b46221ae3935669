"""One row of the comparison under one benchmark's protocol: galleries ranked, numbers read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from covr.errors import UserError
from covr.evaluate import lists
from covr.evaluate.protocols import BENCHMARKS, benchmark
from covr.evaluate.queries import Queries
from covr.evaluate.ranking import Column, Ranking
from covr.evaluate.truth import Truth


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
        chosen = reading or BENCHMARKS[self.name].corrected
        if chosen not in self.columns:
            fix = f"choose one of {', '.join(self.columns)}"
            raise UserError("no such reading of this protocol", f"{self.name}: test.reading={reading}", fix)
        return self.columns[chosen]


def rank_and_read(name: str, row: str, queries: Queries, runs: Callable[[str], pa.Table]) -> Tested:
    """Rank the galleries that a protocol reads, and read them.

    Args:
        runs: the `runs` table over the gallery of a name, the query's own clip ranked like any other.

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
            judged = rankings[gallery]
            if gallery != reading.gallery:
                judged = replace(judged, notes=(f"no {reading.gallery} gallery is known: over the {gallery} one",))
            columns[reading_name] = reading.read(judged)
    return Tested(name=name, row=row, split=queries.split, columns=columns, rankings=rankings)
