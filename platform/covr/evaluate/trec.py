"""A ranking and its right answers as TREC files, for any other tool to score."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from covr.errors import UserError
from covr.tables import right_targets

LEAST = np.float32(1e-30)
"""Least step between scores: below it, processors set to flush subnormal numbers see none."""


def run_lines(runs: pa.Table, tag: str) -> bytes:
    """`runs` as a TREC run: query, Q0, clip, rank, score, tag.

    TREC tools sort by score, in float32, and break ties in their own way; so scores are lowered by the least step
    where that is needed to make each list fall strictly, and written with the nine digits that float32 needs.
    """
    order = np.lexsort((runs["rank"].to_numpy(), _codes(runs["query_id"])))
    sorted_runs = runs.take(pa.array(order))
    queries, clips = sorted_runs["query_id"].to_pylist(), sorted_runs["clip_id"].to_pylist()
    ranks, scores = sorted_runs["rank"].to_pylist(), sorted_runs["score"].to_numpy().astype(np.float32)
    _no_spaces(queries, clips)
    lines, before, query = [], np.float32(np.inf), None
    for i, (query_id, clip_id, rank) in enumerate(zip(queries, clips, ranks, strict=True)):
        below = min(np.nextafter(before, np.float32(-np.inf)), before - LEAST)
        before, query = min(scores[i], below) if query_id == query else scores[i], query_id
        lines.append(f"{query_id} Q0 {clip_id} {rank} {before:.9g} {tag}\n")
    return "".join(lines).encode()


def qrels_lines(triplets: pa.Table) -> bytes:
    """The right answers of `triplets` as TREC qrels: query, 0, clip, grade; the query's own clip is none."""
    lines = []
    rows = (triplets["query_id"].to_pylist(), triplets["query_clip"].to_pylist(), right_targets(triplets).to_pylist())
    for query_id, query_clip, targets in zip(*rows, strict=True):
        right = sorted(set(targets) - {query_clip})
        _no_spaces([query_id], right)
        lines += [f"{query_id} 0 {clip_id} 1\n" for clip_id in right]
    return "".join(lines).encode()


def _codes(ids: pa.ChunkedArray) -> np.ndarray:
    return ids.combine_chunks().dictionary_encode().indices.to_numpy()


def _no_spaces(*columns: list[str]) -> None:
    for name in (name for column in columns for name in column):
        if not name or name.split() != [name]:
            raise UserError("an id with a space cannot stand in a TREC file", repr(name), "rename the clip or query")
