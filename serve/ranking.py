"""Queries that are vectors already, asked of a view of the index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covr.index.expansion import expanded
from covr.index.snapshot import Ranked
from covr.index.view import View
from serve.query import Encoded, Query


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """The answers that a query is to be asked again with."""

    ranked: Ranked
    vectors: dict[str, np.ndarray]
    """Clip id -> (D,), of those and maybe others."""


def rank(view: View, vectors_QD: np.ndarray, queries: Sequence[Query]) -> list[Ranked]:
    """The best clips of each query, those of its page and of the pages before, and one more if there is one."""
    depths = [query.offset + query.k + 1 for query in queries]
    ranked = best(view, vectors_QD, queries, max(depths))
    return [
        Ranked(answer.scores[:depth], answer.clip_ids[:depth]) for answer, depth in zip(ranked, depths, strict=True)
    ]


def best(view: View, vectors_QD: np.ndarray, queries: Sequence[Query], depth: int) -> list[Ranked]:
    """The best `depth` clips of each query that may be answers to it."""
    return view.search(
        vectors_QD,
        depth,
        exclude=[_own(view, query) for query in queries],
        filters=[query.filter for query in queries],
    )


def asked_again(view: View, encoded: Sequence[Encoded], queries: Sequence[Query]) -> np.ndarray:
    """The queries' vectors (Q, D), with their best answers added where the retriever wants it."""
    vectors_QD = np.stack([each.vector_D for each in encoded])
    depths = {row: each.expand for row, each in enumerate(encoded) if each.expand is not None}
    if depths:
        rows = list(depths)
        found = best(view, vectors_QD[rows], [queries[row] for row in rows], max(depths.values()))
        vectors_QD[rows] = with_answers(vectors_QD[rows], [near(view, each) for each in found])
    return vectors_QD


def near(view: View, ranked: Ranked) -> Near:
    """Answers with their vectors."""
    vectors = [view.vector(clip_id) for clip_id in ranked.clip_ids]
    return Near(ranked=ranked, vectors=dict(zip(ranked.clip_ids, vectors, strict=True)))


def with_answers(vectors_QD: np.ndarray, answers: Sequence[Near]) -> np.ndarray:
    """The queries' vectors with these answers added."""
    rows_A = np.repeat(np.arange(len(answers)), [len(each.ranked.clip_ids) for each in answers])
    if not len(rows_A):
        return vectors_QD
    scores_A = np.concatenate([each.ranked.scores for each in answers])
    vectors_AD = np.stack([each.vectors[clip_id] for each in answers for clip_id in each.ranked.clip_ids])
    return expanded(vectors_QD, rows_A, scores_A, vectors_AD)


def merged(parts: Sequence[Ranked], depth: int) -> Ranked:
    """The best `depth` of several parts of an index, equal scores by id."""
    scores = np.concatenate([part.scores for part in parts])
    clip_ids = [clip_id for part in parts for clip_id in part.clip_ids]
    order = sorted(range(len(clip_ids)), key=lambda row: (-scores[row], clip_ids[row]))[:depth]
    return Ranked(scores[order], [clip_ids[row] for row in order])


def confident(encoded: Encoded, ranked: Ranked) -> bool | None:
    """Whether the first answer is to be relied on; None where that was not measured, or there is none."""
    if encoded.confident_from is None or not len(ranked.scores):
        return None
    return bool(ranked.scores[0] >= encoded.confident_from)


def _own(view: View, query: Query) -> list[str]:
    """What is no answer to a query: its own clip, also under another id, and what it leaves out."""
    own = view.copies(query.sha256) if query.sha256 else []
    return [*own, *query.exclude, *([query.clip_id] if query.clip_id else [])]
