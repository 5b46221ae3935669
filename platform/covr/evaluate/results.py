"""From ranked lists to the results of a comparison: metrics, intervals, breakdowns, composition gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from covr.evaluate.answers import answers
from covr.evaluate.bootstrap import ClusterBootstrap
from covr.evaluate.metrics import PRIMARY, Protocol, median_rank, per_query, percent
from covr.evaluate.queries import Queries

RIVALS = ("text-only", "video-only", "average")
"""Rows that a composed query has to beat by more than noise."""
BREAKDOWNS = ("edit", "seen")
"""Tags of the triplets by which the primary metric is reported apart."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One row's metrics for each query (Q,), as shares, and its median rank."""

    values: dict[str, np.ndarray]
    median_rank: float | None = None


def score(runs: Mapping[Protocol, pa.Table], queries: Queries, row: str) -> Scores:
    """Judge a row's rankings, one `runs` table for each protocol that was asked for.

    Raises:
        UserError: a ranking does not fit the queries (see `answers`).
    """
    values: dict[str, np.ndarray] = {}
    median = None
    for protocol, table in runs.items():
        found = answers(table, queries.triplets, queries.gallery_rows(protocol), protocol, f"runs/{row}")
        values |= per_query(found, protocol)
        if protocol == "corrected":
            median = median_rank(found)
    return Scores(values=values, median_rank=median)


def clusters(queries: Queries) -> np.ndarray:
    """(Q,) what rises and falls together: each query's label pair (tag `pair`), else the query alone."""
    ids = queries.triplets["query_id"].to_pylist()
    return np.array([pair or own for pair, own in zip(queries.tag("pair"), ids, strict=True)])


class Comparison:
    """Rows scored on the same queries, with intervals from the same draws.

    Args:
        num_draws: bootstrap resamples of the label pairs (see `clusters`).
    """

    def __init__(self, queries: Queries, num_draws: int, seed: int) -> None:
        self.queries, self.num_draws, self.seed = queries, num_draws, seed
        self.clusters = clusters(queries)
        self.bootstrap = ClusterBootstrap(self.clusters, num_draws, seed)

    def rows(self, scores: Mapping[str, Scores]) -> list[dict[str, Any]]:
        """The rows of results.json: metrics and intervals in percent (median rank in ranks)."""
        return [self._row(row, scored, scores) for row, scored in scores.items()]

    def _row(self, row: str, scored: Scores, scores: Mapping[str, Scores]) -> dict[str, Any]:
        metrics: dict[str, float | None] = dict(percent(scored.values))
        interval = {
            name: _percent(self.bootstrap.interval(value_Q))
            for name, value_Q in scored.values.items()
            if not name.endswith("/trec")
        }
        if PRIMARY in metrics:
            metrics["median_rank"] = scored.median_rank
            rivals = [scores[rival].values[PRIMARY] for rival in RIVALS if rival in scores]
            if row == "composed" and rivals:
                gap, gap_interval = self.bootstrap.gap(scored.values[PRIMARY], rivals)
                metrics["composition_gap"], interval["composition_gap"] = 100 * gap, _percent(gap_interval)
        return {
            "row": row,
            "queries": len(self.queries),
            "metrics": {name: value if value is None else round(value, 6) for name, value in metrics.items()},
            "interval": interval,
            "breakdown": self._breakdown(scored.values[PRIMARY]) if PRIMARY in metrics else {},
        }

    def _breakdown(self, value_Q: np.ndarray) -> dict[str, dict[str, Any]]:
        """The primary metric of each group of queries that share a tag's value."""
        found: dict[str, dict[str, Any]] = {}
        for tag in BREAKDOWNS:
            of_query = np.array([value or "" for value in self.queries.tag(tag)])
            for name in sorted(set(of_query) - {""}):
                chosen = of_query == name
                draws = ClusterBootstrap(self.clusters[chosen], self.num_draws, self.seed)
                found.setdefault(tag, {})[str(name)] = {
                    "queries": int(chosen.sum()),
                    PRIMARY: round(100 * float(value_Q[chosen].mean()), 6),
                    "interval": _percent(draws.interval(value_Q[chosen])),
                }
        return found


def _percent(interval: tuple[float, float]) -> list[float]:
    return [round(100 * bound, 6) for bound in interval]
