"""Ranked answers of many queries as one matrix of clip numbers, and what protocols do to such lists.

Q queries, R ranks, C clips; `ranked_QR[q, r]` is the number of the clip at rank r + 1 of query q, its position in a
vocabulary of clip ids; ABSENT beyond the end of a shorter list.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.errors import UserError
from covr.evaluate.rank import top

ABSENT = -1


def positions(values: pa.Array | pa.ChunkedArray, among: pa.Array, problem: str, where: str) -> np.ndarray:
    """Positions of `values` in `among`, int64.

    Raises:
        UserError: `problem`, naming the first value that is not there.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    found = pc.index_in(values, among)
    if found.null_count:
        first = pc.index(found.is_null(), True).as_py()
        raise UserError(problem, f"{where}: {values[first].as_py()}", "score it against the tables it was made from")
    return found.to_numpy().astype(np.int64)


def from_runs(runs: pa.Table, query_ids: pa.Array, vocabulary: pa.Array, where: str) -> np.ndarray:
    """A `runs` table as (Q, R) clip numbers, rows as `query_ids`; only the order of its ranks counts.

    Raises:
        UserError: a query without a ranking, a ranking of an unknown query or clip, or a rank given twice.
    """
    query_N = positions(runs["query_id"], query_ids, "a ranking answers an unknown query", where)
    clip_N = positions(runs["clip_id"], vocabulary, "an answer is no known clip", where)
    rank_N = runs["rank"].to_numpy()
    order = np.lexsort((rank_N, query_N))
    query_N, clip_N, rank_N = query_N[order], clip_N[order], rank_N[order]
    counts = np.bincount(query_N, minlength=len(query_ids))
    if not counts.all():
        first = query_ids[int(np.argmin(counts))].as_py()
        raise UserError(f"{int((counts == 0).sum())} queries have no ranking", f"{where}: {first}", "rank every query")
    same = (np.diff(query_N) == 0) & (np.diff(rank_N) == 0)
    if same.any():
        first = query_ids[int(query_N[int(np.argmax(same))])].as_py()
        raise UserError("a rank is given twice", f"{where}: query {first}", "give each rank once")
    ranked_QR = np.full((len(query_ids), int(counts.max())), ABSENT)
    ranked_QR[query_N, np.arange(len(query_N)) - (np.cumsum(counts) - counts)[query_N]] = clip_N
    return ranked_QR


def from_scores(scores_QG: np.ndarray, clip_G: np.ndarray, depth: int) -> np.ndarray:
    """The `depth` best columns of each row as clip numbers; equal scores in the order of the columns.

    Args:
        clip_G: clip number of each column; a clip may have several columns.
    """
    columns_QR, _ = top(scores_QG, depth)
    return clip_G[columns_QR]


def pairs(ranked_QR: np.ndarray, num_clips: int) -> np.ndarray:
    """(Q, R) each (query, clip) as one number, as `query * num_clips + clip`; ABSENT where the list has ended."""
    numbers_QR = np.arange(len(ranked_QR))[:, None] * num_clips + ranked_QR
    return np.where(ranked_QR == ABSENT, ABSENT, numbers_QR)


def drop(ranked_QR: np.ndarray, dropped_QR: np.ndarray) -> np.ndarray:
    """The lists without the marked answers; those behind move up."""
    return _ordered(ranked_QR, np.where(dropped_QR, 2, 0))


def put_last(ranked_QR: np.ndarray, marked_QR: np.ndarray, complete_Q: np.ndarray) -> np.ndarray:
    """The lists with the marked answers at the end, as a very low score puts them.

    A list that does not hold its whole gallery loses them: where they would stand is not in it.
    """
    return _ordered(ranked_QR, np.where(marked_QR, np.where(complete_Q, 1, 2)[:, None], 0))


def repeats(ranked_QR: np.ndarray) -> np.ndarray:
    """(Q, R) whether the same clip stands at a better rank of the list."""
    order = np.argsort(ranked_QR, axis=1, kind="stable")
    sorted_QR = np.take_along_axis(ranked_QR, order, axis=1)
    again = np.zeros(ranked_QR.shape, bool)
    again[:, 1:] = (sorted_QR[:, 1:] == sorted_QR[:, :-1]) & (sorted_QR[:, 1:] != ABSENT)
    repeated_QR = np.zeros(ranked_QR.shape, bool)
    np.put_along_axis(repeated_QR, order, again, axis=1)
    return repeated_QR


def multiply(ranked_QR: np.ndarray, rows_C: np.ndarray, depth: int) -> np.ndarray:
    """The lists over a gallery that holds clip c in `rows_C[c]` rows: equal vectors, so each clip's rows in a block."""
    out_QR = np.full((len(ranked_QR), depth), ABSENT)
    for row, clip_R in enumerate(ranked_QR):
        clip_R = clip_R[clip_R != ABSENT]
        block = np.repeat(clip_R, rows_C[clip_R])[:depth]
        out_QR[row, : len(block)] = block
    return out_QR


def lengths(ranked_QR: np.ndarray) -> np.ndarray:
    """(Q,) how many answers each list holds."""
    return (ranked_QR != ABSENT).sum(axis=1)


def _ordered(ranked_QR: np.ndarray, group_QR: np.ndarray) -> np.ndarray:
    """Each list's answers by group, in their own order within one; group 2 is dropped."""
    group_QR = np.where(ranked_QR == ABSENT, 2, group_QR)
    order = np.argsort(group_QR, axis=1, kind="stable")
    moved_QR = np.take_along_axis(np.where(group_QR == 2, ABSENT, ranked_QR), order, axis=1)
    return moved_QR[:, : max(1, int(lengths(moved_QR).max(initial=1)))]
