"""FineCVR-1M: recall of the target among the split's clips, the reference left out."""

from __future__ import annotations

from covr.evaluate.metrics import RECALL_AT, recall
from covr.evaluate.ranking import Column, Ranking, Reading


def published(ranking: Ranking) -> Column:
    """R@1, 5, 10, 50 of the lists as they are, without the reference."""
    return _recalls(ranking.without_own())


def corrected(ranking: Ranking) -> Column:
    """R@1, 5, 10, 50 within the split's clips, each once, without the reference."""
    return _recalls(ranking.within("corrected").without_own().once())


READINGS = {
    "published": Reading(gallery="corrected", read=published),
    "corrected": Reading(gallery="corrected", read=corrected),
}


def _recalls(ranking: Ranking) -> Column:
    return ranking.judge(lambda found: recall(found.annotated_QR), max(RECALL_AT))
