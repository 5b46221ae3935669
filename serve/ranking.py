"""Queries that are vectors already, asked of a view of the index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covr.index.snapshot import Ranked
from covr.index.view import View
from serve.query import Encoded, Query


def rank(view: View, vectors_QD: np.ndarray, queries: Sequence[Query]) -> list[Ranked]:
    """The best clips of each query, those of its page and of the pages before, and one more if there is one."""
    depths = [query.offset + query.k + 1 for query in queries]
    ranked = view.search(
        vectors_QD,
        max(depths),
        exclude=[_own(view, query) for query in queries],
        filters=[query.filter for query in queries],
    )
    return [
        Ranked(answer.scores[:depth], answer.clip_ids[:depth]) for answer, depth in zip(ranked, depths, strict=True)
    ]


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
