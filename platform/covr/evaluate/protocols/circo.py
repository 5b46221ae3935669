"""CIRCO: mAP over all right answers, and recall of the one target (Baldrati et al., ICCV 2023).

The official evaluation is sound and defines both columns; `corrected` differs where a query's own image is among its
answers. An answer given twice is refused. Of the first 50 answers, those missing count as wrong; AP@K is divided by the
smaller of K and the number of right answers.
"""

from __future__ import annotations

import numpy as np

from covr.evaluate.metrics import MAP_AT, Answers, mean_average_precision, recall
from covr.evaluate.ranking import Column, Ranking, Reading

ASPECTS_AT = 10
TAG = "semantic_aspects"  # of the triplets; several, separated by semicolons
DEEPEST = max(MAP_AT)


def published(ranking: Ranking) -> Column:
    """mAP@K and R@K for K = 5, 10, 25, 50, and `mAP@10/<aspect>` over the queries of each semantic aspect."""
    ranking = ranking.refuse_repeats()
    found = ranking.judge(_measure, DEEPEST)
    aspects_Q = [{aspect.strip() for aspect in (tag or "").split(";")} - {""} for tag in ranking.truth.tag(TAG)]
    by_aspect = {}
    for aspect in sorted(set().union(*aspects_Q)):
        of_aspect = ranking.of(np.array([aspect in aspects for aspects in aspects_Q]))
        by_aspect[f"mAP@{ASPECTS_AT}/{aspect}"] = of_aspect.judge(_measure, DEEPEST).metrics[f"mAP@{ASPECTS_AT}"]
    return Column(metrics={**found.metrics, **by_aspect}, queries=found.queries, notes=found.notes)


def corrected(ranking: Ranking) -> Column:
    """The same without the query's own image."""
    return published(ranking.without_own())


READINGS = {
    "published": Reading(gallery="corrected", read=published),
    "corrected": Reading(gallery="corrected", read=corrected),
}


def _measure(answers: Answers) -> dict[str, np.ndarray]:
    return {**mean_average_precision(answers), **recall(answers.annotated_QR, MAP_AT)}
