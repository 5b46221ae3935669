"""From a table of ranked answers to what is right in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.errors import UserError
from covr.evaluate.metrics import Answers, Protocol
from covr.tables import right_targets


def answers(runs: pa.Table, triplets: pa.Table, gallery: pa.Table, protocol: Protocol, where: str) -> Answers:
    """Judge a `runs` table; the rows of the result follow `triplets`.

    Args:
        runs: any ranking of `triplets`' queries, from here or from elsewhere; only the order of its ranks counts.
        triplets: the queries to score; each is expected in `runs`.
        gallery: the clips that may be answers (rows of a `galleries` table, of one or several galleries).
        protocol: `corrected` takes the query's own clip out of the right answers.
        where: what the ranking is called in messages.

    Raises:
        UserError: a query without a ranking, a ranking of an unknown query or clip, a rank or clip twice, the query's
            own clip as its answer, or a query with no right answer (the last three: corrected only).
    """
    query_ids = triplets["query_id"].combine_chunks()
    targets = right_targets(triplets)
    in_gallery = pc.unique(gallery["clip_id"].combine_chunks())
    vocabulary = pc.unique(pa.concat_arrays([in_gallery, targets.flatten(), *triplets["query_clip"].chunks]))
    _index(runs["clip_id"], in_gallery, "an answer is in no gallery", where)
    query_N = _index(runs["query_id"], query_ids, "a ranking answers an unknown query", where)
    clip_N = _index(runs["clip_id"], vocabulary, "", where)
    rank_N = runs["rank"].to_numpy()
    order = np.lexsort((rank_N, query_N))
    query_N, clip_N, rank_N = query_N[order], clip_N[order], rank_N[order]

    def at(mask_N: np.ndarray) -> str:
        return f"{where}: query {query_ids[int(query_N[int(np.argmax(mask_N))])].as_py()}"

    num_queries, num_clips = len(query_ids), len(vocabulary)
    counts = np.bincount(query_N, minlength=num_queries)
    if not counts.all():
        first = query_ids[int(np.argmin(counts))].as_py()
        raise UserError(f"{int((counts == 0).sum())} queries have no ranking", f"{where}: {first}", "rank every query")
    if (same := (np.diff(query_N) == 0) & (np.diff(rank_N) == 0)).any():
        raise UserError("a rank is given twice", at(same), "give each rank once")

    own_Q = _index(triplets["query_clip"], vocabulary, "", where)
    annotated_Q, right_pairs = _right(targets, vocabulary, own_Q, protocol)
    relevant_Q = np.bincount(right_pairs // num_clips, minlength=num_queries)
    if not relevant_Q.all():
        first = query_ids[int(np.argmin(relevant_Q))].as_py()
        raise UserError("a query has no right answer", f"triplets: query {first}", "leave it out of the triplets")
    pair_N = query_N * num_clips + clip_N
    if protocol == "corrected":
        if (own := clip_N == own_Q[query_N]).any():
            raise UserError("a query's own clip is among its answers", at(own), "leave it out of the ranking")
        if len(np.unique(pair_N)) != len(pair_N):
            raise UserError("a clip answers one query twice", where, "rank each clip once")
        wanted = vocabulary.take(pa.array(right_pairs % num_clips))
        _index(wanted, in_gallery, "a right answer is in no gallery", "triplets")

    column_N = np.arange(len(query_N)) - (np.cumsum(counts) - counts)[query_N]
    shape = (num_queries, int(counts.max()))
    hits_QR, annotated_QR = np.zeros(shape, bool), np.zeros(shape, bool)
    hits_QR[query_N, column_N] = np.isin(pair_N, right_pairs)
    annotated_QR[query_N, column_N] = clip_N == annotated_Q[query_N]
    return Answers(hits_QR=hits_QR, annotated_QR=annotated_QR, relevant_Q=relevant_Q)


def _right(
    targets: pa.ListArray, vocabulary: pa.Array, own_Q: np.ndarray, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """The annotated clip of each query (-1: none that counts), and all (query, right clip) pairs as single numbers."""
    query_M = pc.list_parent_indices(targets).to_numpy().astype(np.int64)
    clip_M = _index(targets.flatten(), vocabulary, "", "triplets")
    annotated_Q = np.full(len(targets), -1)
    answered, first_M = np.unique(query_M, return_index=True)
    annotated_Q[answered] = clip_M[first_M]
    if protocol == "corrected":
        kept_M = clip_M != own_Q[query_M]
        query_M, clip_M = query_M[kept_M], clip_M[kept_M]
        annotated_Q[annotated_Q == own_Q] = -1
    return annotated_Q, np.unique(query_M * len(vocabulary) + clip_M)


def _index(values: pa.Array | pa.ChunkedArray, among: pa.Array, problem: str, where: str) -> np.ndarray:
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
