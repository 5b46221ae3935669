"""TF-CoVR: mAP over all right answers, in the published gallery and in corrected ones.

* `published`: a gallery row for every annotation's target, so that a clip answers as often as it is a target, and the
  query's own clip last; recall counts the rows of the annotated target. Both exceed 100 % where clips repeat.
* `deduplicated`: every target and right answer of the split, once; the query's own clip last, but right where it is
  listed.
* `targets`: the same gallery; the query's own clip neither answer nor right.
* `split`: the split's query clips too.
* `all`: every clip of the data set.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from covr.evaluate.metrics import MAP_AT, Answers, appearances, mean_average_precision, recall
from covr.evaluate.ranking import Column, Ranking, Reading

GALLERIES = ("targets", "split", "all")
DEEPEST = max(MAP_AT)


def published(ranking: Ranking) -> Column:
    """mAP@K and the annotated target's appearances for K = 5, 10, 25, 50."""
    return ranking.within("published").own_last().in_rows_of("published", DEEPEST).judge(_published, DEEPEST)


def deduplicated(ranking: Ranking) -> Column:
    """mAP@K and R@K of the published evaluation without repeated rows, for K = 5, 10, 25, 50."""
    return ranking.within("targets").once().own_last().judge(_corrected, DEEPEST)


def corrected(ranking: Ranking, gallery: str) -> Column:
    """mAP@K, R@K of any right answer and of the annotated one, for K = 5, 10, 25, 50."""
    return ranking.within(gallery).without_own().once().judge(_corrected, DEEPEST)


READINGS = {
    "published": Reading(gallery="published", read=published),
    "deduplicated": Reading(gallery="targets", read=deduplicated, optional=True),
    **{name: Reading(gallery=name, read=partial(corrected, gallery=name), optional=True) for name in GALLERIES},
}


def _published(answers: Answers) -> dict[str, np.ndarray]:
    return {**mean_average_precision(answers), **appearances(answers.annotated_QR, MAP_AT)}


def _corrected(answers: Answers) -> dict[str, np.ndarray]:
    annotated = {f"{name}/annotated": value for name, value in recall(answers.annotated_QR, MAP_AT).items()}
    return {**mean_average_precision(answers), **recall(answers.hits_QR, MAP_AT), **annotated}
