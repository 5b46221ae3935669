"""From a table of ranked answers to what is right in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.errors import UserError
from covr.evaluate.lists import ABSENT, from_runs, pairs, positions, repeats
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
    positions(runs["clip_id"], in_gallery, "an answer is in no gallery", where)
    ranked_QR = from_runs(runs, query_ids, vocabulary, where)
    num_queries, num_clips = len(query_ids), len(vocabulary)

    own_Q = positions(triplets["query_clip"], vocabulary, "", where)
    annotated_Q, right_pairs = _right(targets, vocabulary, own_Q, protocol)
    relevant_Q = np.bincount(right_pairs // num_clips, minlength=num_queries)
    if not relevant_Q.all():
        first = query_ids[int(np.argmin(relevant_Q))].as_py()
        raise UserError("a query has no right answer", f"triplets: query {first}", "leave it out of the triplets")
    if protocol == "corrected":
        if (own := (ranked_QR == own_Q[:, None]).any(axis=1)).any():
            at = f"{where}: query {query_ids[int(np.argmax(own))].as_py()}"
            raise UserError("a query's own clip is among its answers", at, "leave it out of the ranking")
        if repeats(ranked_QR).any():
            raise UserError("a clip answers one query twice", where, "rank each clip once")
        wanted = vocabulary.take(pa.array(right_pairs % num_clips))
        positions(wanted, in_gallery, "a right answer is in no gallery", "triplets")
    return Answers(
        hits_QR=np.isin(pairs(ranked_QR, num_clips), right_pairs),
        annotated_QR=(ranked_QR == annotated_Q[:, None]) & (ranked_QR != ABSENT),
        relevant_Q=relevant_Q,
    )


def _right(
    targets: pa.ListArray, vocabulary: pa.Array, own_Q: np.ndarray, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray]:
    """The annotated clip of each query (ABSENT: none that counts), and (query, right clip) pairs as numbers."""
    query_M = pc.list_parent_indices(targets).to_numpy().astype(np.int64)
    clip_M = positions(targets.flatten(), vocabulary, "", "triplets")
    annotated_Q = np.full(len(targets), ABSENT)
    answered, first_M = np.unique(query_M, return_index=True)
    annotated_Q[answered] = clip_M[first_M]
    if protocol == "corrected":
        kept_M = clip_M != own_Q[query_M]
        query_M, clip_M = query_M[kept_M], clip_M[kept_M]
        annotated_Q[annotated_Q == own_Q] = ABSENT
    return annotated_Q, np.unique(query_M * len(vocabulary) + clip_M)
