"""Retrieval metrics over ranked lists, vectorised over queries.

    Q queries, R ranks; `hits_QR[q, r]` says whether the answer at rank r + 1 to query q is right.

Two protocols (reference: CIRCO's mAP, TF-CoVR's evaluation):

* `corrected`: every clip once in the gallery, the query's own clip not at all.
  AP@K = sum of the precisions at the hits within K, over min(number of right answers, K).
  R@K = share of queries with at least one right answer in the top K; `R@K/annotated` counts only the annotated one.
* `published`: one gallery row per annotation, so that a clip answers as often as it is annotated, and the query's own
  clip last. The same sum for AP@K, where a clip counts each time it appears; R@K counts the appearances of the
  annotated clip. Both may exceed 100 %.

`mAP@K/trec` divides by the number of right answers alone, as trec_eval's map_cut does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MAP_AT = (5, 10, 25, 50)
RECALL_AT = (1, 5, 10, 50)
DEEPEST = max(*MAP_AT, *RECALL_AT)
PRIMARY = "mAP@10"

Protocol = Literal["corrected", "published"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What is right in the ranked lists of Q queries."""

    hits_QR: np.ndarray
    """Whether the answer at this rank is one of the right ones; False beyond the end of a shorter list."""
    annotated_QR: np.ndarray
    """Whether it is the annotated one."""
    relevant_Q: np.ndarray
    """Number of right answers of each query, found or not; at least 1."""
    grades_QR: np.ndarray | None = None
    """How right the answer at this rank is, 0 where it is not annotated; None: right answers are equally right."""


def average_precision(hits_QR: np.ndarray, divisor_Q: np.ndarray, k: int) -> np.ndarray:
    """(Q,) sum of the precisions at the hits within the first k ranks, over `divisor_Q`."""
    hits = hits_QR[:, :k].astype(np.float64)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / divisor_Q


def first_rank(hits_QR: np.ndarray) -> np.ndarray:
    """(Q,) rank, from 1, of the first right answer; inf where there is none."""
    return np.where(hits_QR.any(axis=1), hits_QR.argmax(axis=1) + 1.0, np.inf)


def mean_average_precision(answers: Answers, ks: Sequence[int] = MAP_AT) -> dict[str, np.ndarray]:
    """`mAP@K` of each query: divided by the number of right answers, but by no more than K."""
    return {f"mAP@{k}": average_precision(answers.hits_QR, np.minimum(answers.relevant_Q, k), k) for k in ks}


def recall(hits_QR: np.ndarray, ks: Sequence[int] = RECALL_AT) -> dict[str, np.ndarray]:
    """`R@K` of each query: 1 where one of the first K answers is right."""
    return {f"R@{k}": 1.0 * np.any(hits_QR[:, :k], axis=1) for k in ks}


def appearances(hits_QR: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """`R@K` as published for TF-CoVR: how often the right answer stands among the first K."""
    return {f"R@{k}": hits_QR[:, :k].sum(axis=1).astype(np.float64) for k in ks}


def per_query(answers: Answers, protocol: Protocol) -> dict[str, np.ndarray]:
    """Every metric's value for each query, (Q,), as a share; their means are the metrics."""
    capped = mean_average_precision(answers)
    if protocol == "published":
        values = {**capped, **appearances(answers.annotated_QR, sorted({*MAP_AT, *RECALL_AT}))}
        return {f"{name}/published": values_Q for name, values_Q in values.items()}
    uncapped = {f"mAP@{k}/trec": average_precision(answers.hits_QR, answers.relevant_Q, k) for k in MAP_AT}
    annotated = {f"{name}/annotated": values_Q for name, values_Q in recall(answers.annotated_QR).items()}
    return {**capped, **uncapped, **recall(answers.hits_QR), **annotated}


def percent(values: dict[str, np.ndarray]) -> dict[str, float]:
    """Means over the queries, in percent."""
    return {name: 100.0 * float(value_Q.mean()) for name, value_Q in values.items()}


def median_rank(answers: Answers) -> float | None:
    """Median over the queries of the rank of the first right answer; None where it lies beyond the ranks kept."""
    median = float(np.median(first_rank(answers.hits_QR)))
    return median if np.isfinite(median) else None
