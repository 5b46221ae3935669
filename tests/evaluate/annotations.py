"""Annotations and rankings as tables, for tests of protocols: small, by hand or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from covr import tables
from covr.evaluate import lists
from covr.evaluate.ranking import Ranking
from covr.evaluate.truth import Truth


def triplets(rows: Sequence[Mapping]) -> pa.Table:
    """Rows with `query_clip`, `target_clips` and anything else; numbered from 0 where they have no id."""
    return tables.from_rows("triplets", [{"query_id": str(number), **row} for number, row in enumerate(rows)])


def galleries(**clips: Sequence[str]) -> pa.Table:
    """A gallery for each keyword."""
    rows = [{"gallery_id": name, "clip_id": clip} for name, members in clips.items() for clip in members]
    return tables.from_rows("galleries", rows)


def runs(ranked: Mapping[str, Sequence[str]]) -> pa.Table:
    """A `runs` table of each query's answers, best first."""
    rows = [
        {"query_id": query, "rank": rank, "clip_id": clip, "score": -float(rank), "stage": ""}
        for query, clips in ranked.items()
        for rank, clip in enumerate(clips, 1)
    ]
    return tables.from_rows("runs", rows)


def ranking(asked: pa.Table, known: pa.Table, ranked: Mapping[str, Sequence[str]]) -> Ranking:
    table = runs(ranked)
    truth = Truth.of(asked, known, table["clip_id"])
    return Ranking(truth=truth, ranked_QR=lists.from_runs(table, truth.query_ids, truth.vocabulary, "ranking"))
