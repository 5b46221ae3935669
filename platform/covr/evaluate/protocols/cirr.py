"""CIRR: recall over the split's images, and over the six images of a query's own set.

As published, the gallery is whatever image the folder holds; corrected, it is the split's list. The released validation
of the subset takes the best grade (soft target) within the first K; corrected, K answers hold the target or not.
"""

from __future__ import annotations

import numpy as np

from covr.evaluate.metrics import RECALL_AT, Answers, recall
from covr.evaluate.ranking import Column, Ranking, Reading

SUBSET_AT = (1, 2, 3)


def published(ranking: Ranking) -> Column:
    """R@1, 5, 10, 50 of the lists as they are, the query's own image last."""
    return _recalls(ranking.own_last())


def corrected(ranking: Ranking) -> Column:
    """R@1, 5, 10, 50 within the split's images, each once."""
    return _recalls(ranking.within("corrected").without_own().once())


def subset_published(ranking: Ranking) -> Column:
    """R@1, 2, 3 within the query's own set: the best grade among the first K."""
    return _in_set(ranking).judge(_best_grade, max(SUBSET_AT))


def subset_corrected(ranking: Ranking) -> Column:
    """R@1, 2, 3 of the target within the query's own set."""
    return _in_set(ranking).judge(lambda found: recall(found.annotated_QR, SUBSET_AT), max(SUBSET_AT))


READINGS = {
    "published": Reading(gallery="published", read=published),
    "corrected": Reading(gallery="corrected", read=corrected),
}
SUBSET_READINGS = {
    "published": Reading(gallery="subset", read=subset_published),
    "corrected": Reading(gallery="subset", read=subset_corrected),
}


def _recalls(ranking: Ranking) -> Column:
    return ranking.judge(lambda found: recall(found.annotated_QR), max(RECALL_AT))


def _in_set(ranking: Ranking) -> Ranking:
    return ranking.within("subset").without_own().once()


def _best_grade(answers: Answers) -> dict[str, np.ndarray]:
    grades_QR = answers.hits_QR if answers.grades_QR is None else answers.grades_QR
    return {f"R@{k}": grades_QR[:, :k].max(axis=1).astype(np.float64) for k in SUBSET_AT}
