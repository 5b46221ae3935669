"""Exact ranking of a gallery for embedded queries: a blocked matrix product and a selection with fixed ties.

B queries of a block, Q queries, G gallery rows, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from covr import tables
from covr.errors import UserError

BLOCK_SCORES = 1 << 25  # scores held at once: 128 MiB as float32, three times that while they are selected
LAST = -100.0
"""Score of the query's own clip under the published protocol: behind every other answer."""

LIFT = 4.0
"""Added to the scores of a second stage, so that they lie above those of the first: cosines differ by 2 at most."""

Own = Literal["left out", "last", "ranked"]
"""What becomes of the query's own clip."""


def rank_embeddings(
    query_QD: np.ndarray,
    gallery_GD: np.ndarray,
    *,
    query_ids: Sequence[str],
    query_clips: Sequence[str],
    gallery_clips: Sequence[str],
    depth: int,
    own: Own = "left out",
    stage: str = "retrieve",
) -> pa.Table:
    """A `runs` table: for each query the `depth` gallery rows with the highest dot products, best first.

    Equal scores are ordered by clip id.

    Args:
        query_QD, gallery_GD: float32; normalise them first where the similarity is the cosine.
        gallery_clips: one clip id per gallery row; a clip may have several rows.

    Raises:
        UserError: an embedding that is not finite.
    """
    for name, values, ids in (("query", query_QD, query_ids), ("gallery", gallery_GD, gallery_clips)):
        if not (finite := np.isfinite(values).all(axis=1)).all():
            raise UserError(f"a {name} embedding is not finite", ids[int(np.argmin(finite))], "train or embed it again")
    by_id = np.argsort(np.asarray(gallery_clips), kind="stable")
    columns_DG = gallery_GD[by_id].T
    blocks = (query_QD[rows] @ columns_DG for rows in _blocks(len(query_QD), len(by_id)))
    return _runs(blocks, query_ids, query_clips, np.asarray(gallery_clips)[by_id], depth, own, stage)


def rank_randomly(
    *,
    query_ids: Sequence[str],
    query_clips: Sequence[str],
    gallery_clips: Sequence[str],
    depth: int,
    seed: int,
    own: Own = "left out",
) -> pa.Table:
    """A `runs` table in random order: what chance gives on this gallery."""
    rng = np.random.default_rng(seed)
    shapes = ((rows.stop - rows.start, len(gallery_clips)) for rows in _blocks(len(query_ids), len(gallery_clips)))
    blocks = (rng.random(shape, dtype=np.float32) for shape in shapes)
    return _runs(blocks, query_ids, query_clips, np.sort(np.asarray(gallery_clips)), depth, own, "chance")


def reorder(
    runs: pa.Table, scores_QG: np.ndarray, query_ids: Sequence[str], gallery_clips: Sequence[str], top_n: int
) -> pa.Table:
    """A `runs` table whose first `top_n` answers of each query are ordered anew, the others behind them as they were.

    Scores fall along each list: those of the second stage lie `LIFT` higher.

    Args:
        runs: of `rank_embeddings`, over the same queries and gallery.
        scores_QG: of the second stage, cosines.
    """
    row_of = {query: row for row, query in enumerate(query_ids)}
    column_of = {clip: column for column, clip in enumerate(gallery_clips)}
    rows = np.array([row_of[query] for query in runs["query_id"].to_pylist()])
    columns = np.array([column_of[clip] for clip in runs["clip_id"].to_pylist()])
    ranks, scores = runs["rank"].to_numpy(), runs["score"].to_numpy()
    again = ranks <= top_n
    scores = np.where(again, scores_QG[rows, columns].astype(np.float32) + LIFT, scores)
    order = np.lexsort((ranks, np.where(again, -scores, ranks), ~again, rows))
    stages = np.where(again[order], "rerank", np.array(runs["stage"].to_pylist())[order])
    reordered = {
        "query_id": runs["query_id"].take(pa.array(order)),
        "rank": runs["rank"].take(pa.array(np.lexsort((ranks, rows)))),
        "clip_id": runs["clip_id"].take(pa.array(order)),
        "score": pa.array(scores[order]),
        "stage": pa.array(stages, pa.string()),
    }
    return pa.table(reordered, schema=tables.RUNS)


def top(scores_BG: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and scores of the `depth` highest scores of each row, best first, equal ones by column.

    Score and column make one integer key whose order is that wanted, so that no tie is left to the selection.
    """
    size = scores_BG.shape[1]
    depth = min(depth, size)
    bits = (scores_BG.astype(np.float32) + 0.0).view(np.int32)  # + 0.0: minus zero equals zero
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the floats
    keys = (ordered.astype(np.int64) << 32) | (size - 1 - np.arange(size))
    if depth < size:
        keys = np.partition(keys, size - depth, axis=1)[:, size - depth :]
    keys = np.sort(keys, axis=1)[:, ::-1]
    columns = size - 1 - (keys & 0xFFFFFFFF)
    ordered = (keys >> 32).astype(np.int32)
    return columns, (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(np.float32)


def _blocks(num_queries: int, num_clips: int) -> Iterator[slice]:
    """Slices of queries whose scores against the whole gallery fit `BLOCK_SCORES`."""
    size = max(1, BLOCK_SCORES // max(num_clips, 1))
    return (slice(start, min(start + size, num_queries)) for start in range(0, num_queries, size))


def _runs(
    blocks: Iterator[np.ndarray],
    query_ids: Sequence[str],
    query_clips: Sequence[str],
    clips_G: np.ndarray,
    depth: int,
    own: Own,
    stage: str,
) -> pa.Table:
    """Ranked rows from blocks of scores (B, G), whose rows follow the queries and columns the sorted `clips_G`."""
    clip_names, query_names = pa.array(clips_G, pa.string()), pa.array(list(query_ids), pa.string())
    own_from, own_to = (np.searchsorted(clips_G, np.asarray(query_clips), side) for side in ("left", "right"))
    parts, start = [], 0
    for scores_BG in blocks:
        if own != "ranked":
            for row, scores_G in enumerate(scores_BG, start):
                scores_G[own_from[row] : own_to[row]] = LAST if own == "last" else -np.inf
        columns_BR, scores_BR = top(scores_BG, depth)
        kept_BR = scores_BR > -np.inf
        rows, ranks = np.nonzero(kept_BR)
        parts.append(
            pa.table(
                [
                    query_names.take(pa.array(rows + start)),
                    pa.array((ranks + 1).astype(np.int32)),
                    clip_names.take(pa.array(columns_BR[kept_BR])),
                    pa.array(scores_BR[kept_BR]),
                    pa.repeat(stage, len(rows)),
                ],
                schema=tables.RUNS,
            )
        )
        start += len(scores_BG)
    return pa.concat_tables(parts) if parts else tables.RUNS.empty_table()
