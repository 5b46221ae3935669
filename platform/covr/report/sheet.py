"""The sheet: a dozen queries with their first answers, failures first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.evaluate.answers import answers
from covr.evaluate.metrics import first_rank
from covr.evaluate.queries import Queries

SHOWN = 12
MOST_FAILURES = 8
ANSWERS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One clip that was answered."""

    clip_id: str
    score: float
    right: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One query of the sheet."""

    query_id: str
    clip_id: str
    text: str
    target_label: str
    tags: dict[str, str]
    rank: int | None
    """Of the first right answer; None where it is beyond the ranks kept."""
    answers: tuple[Answer, ...]


def sheet(queries: Queries, runs: pa.Table) -> list[Shown]:
    """Choose queries of a row and their top answers.

    Failures have no right answer among those shown; up to eight of them, from the worst on and no two of one label
    pair, then successes spread evenly over the rest. The choice depends on the tables alone.
    """
    rank_Q = first_rank(answers(runs, queries.triplets, queries.gallery_rows("corrected"), "corrected", "runs").hits_QR)
    pairs = [pair or str(i) for i, pair in enumerate(queries.tag("pair"))]
    order = np.argsort(-rank_Q, kind="stable")
    failed = [int(q) for q in order if rank_Q[q] > ANSWERS]
    solved = [int(q) for q in order if rank_Q[q] <= ANSWERS]
    failures = _distinct(failed, pairs)[: MOST_FAILURES if solved else SHOWN]
    rest = SHOWN - len(failures)
    spread = [solved[i] for i in np.linspace(0, len(solved) - 1, min(rest, len(solved))).round().astype(int)]
    return [_shown(queries.triplets.slice(q, 1).to_pylist()[0], rank_Q[q], runs) for q in (*failures, *spread)]


def _distinct(chosen: list[int], pairs: list[str]) -> list[int]:
    """The first query of each label pair."""
    seen: dict[str, int] = {}
    for q in chosen:
        seen.setdefault(pairs[q], q)
    return list(seen.values())


def _shown(triplet: dict[str, Any], rank: float, runs: pa.Table) -> Shown:
    mine = runs.filter(pc.and_(pc.equal(runs["query_id"], triplet["query_id"]), pc.less_equal(runs["rank"], ANSWERS)))
    right = set(triplet["target_clips"])
    return Shown(
        query_id=triplet["query_id"],
        clip_id=triplet["query_clip"],
        text=triplet["modifications"][0],
        target_label=triplet["target_label"] or "",
        tags=dict(triplet["tags"] or ()),
        rank=int(rank) if np.isfinite(rank) else None,
        answers=tuple(
            Answer(clip_id=row["clip_id"], score=row["score"], right=row["clip_id"] in right)
            for row in mine.sort_by("rank").to_pylist()
        ),
    )
