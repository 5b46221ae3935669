"""FashionIQ: recall of the target among a category's images, and the mean over the categories."""

from __future__ import annotations

import numpy as np

from covr.evaluate.metrics import RECALL_AT, recall
from covr.evaluate.ranking import Column, Ranking, Reading


def published(ranking: Ranking) -> Column:
    """R@1, 5, 10, 50 with the reference behind every other image."""
    return _by_category(ranking.within("corrected").own_last())


def corrected(ranking: Ranking) -> Column:
    """R@1, 5, 10, 50 without the reference, each image once."""
    return _by_category(ranking.within("corrected").without_own().once())


READINGS = {
    "published": Reading(gallery="corrected", read=published),
    "corrected": Reading(gallery="corrected", read=corrected),
}


def _by_category(ranking: Ranking) -> Column:
    """Of several categories at once: `R@K/<category>`, and `R@K` is the mean over the categories."""
    category_Q = np.array([tag or "" for tag in ranking.truth.tag("category")])
    each = {
        str(category): ranking.of(category_Q == category).judge(
            lambda found: recall(found.annotated_QR), max(RECALL_AT)
        )
        for category in np.unique(category_Q)
    }
    if len(each) == 1:
        return next(iter(each.values()))
    means = {f"R@{k}": float(np.mean([column.metrics[f"R@{k}"] for column in each.values()])) for k in RECALL_AT}
    apart = {f"{name}/{of}": value for of, column in each.items() for name, value in column.metrics.items()}
    return Column(
        metrics={**means, **apart},
        queries=sum(column.queries for column in each.values()),
        notes=tuple(dict.fromkeys(note for column in each.values() for note in column.notes)),
    )
