"""WebVid-CoVR and Dense-WebVid-CoVR: recall of the annotated target, under three treatments of the query's own clip.

* `none`: it may be an answer like any other.
* `published`: scores of -10 in the cells that the released code masks. It compares clip ids of the annotations sorted
  by target with scores in the order of the file, so that it hits unrelated cells: of the 117 queries of the real test
  file whose clip is in the gallery, none is masked.
* `correct`: the query's own clip is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from covr.evaluate import lists
from covr.evaluate.metrics import RECALL_AT, recall
from covr.evaluate.ranking import Column, Ranking, Reading

DEEPEST = max(RECALL_AT)


def unmasked(ranking: Ranking) -> Column:
    """Recall of the lists as they are."""
    return _recalls(ranking.within("published"))


def published(ranking: Ranking) -> Column:
    """Recall with the released code's mask."""
    truth, rows = ranking.truth, ranking.within("published")
    names = [[truth.vocabulary[int(clip)].as_py() for clip in each] for each in (truth.own_Q, truth.annotated_Q)]
    num_clips = len(truth.vocabulary)
    masked = [query * num_clips + truth.annotated_Q[row] for query, row in published_cells(*names)]
    return _recalls(rows.put_last(np.isin(lists.pairs(rows.ranked_QR, num_clips), masked)))


def correct(ranking: Ranking) -> Column:
    """Recall without the query's own clip, each clip once."""
    return _recalls(ranking.within("corrected").without_own().once())


READINGS = {
    "none": Reading(gallery="published", read=unmasked),
    "published": Reading(gallery="published", read=published),
    "correct": Reading(gallery="corrected", read=correct),
}


def published_cells(query_clips: Sequence[str], targets: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(row, column) of the cells of the score matrix, in file order, that the released code masks.

    Both lists are in file order; the code sorts them by target before it compares them, and the scores not.
    A clip is compared by its path with every non-digit as a 0, as one number.
    """
    order = sorted(range(len(targets)), key=lambda row: targets[row])
    columns: dict[int, list[int]] = {}
    for column, row in enumerate(order):
        columns.setdefault(_number(targets[row]), []).append(column)
    for position, row in enumerate(order):
        yield from ((position, column) for column in columns.get(_number(query_clips[row]), ()))


def _number(clip: str) -> int:
    return int(re.sub(r"\D", "0", clip) or 0)


def _recalls(ranking: Ranking) -> Column:
    """R@1, 5, 10, 50, meanR3 (of the first three) and meanR4."""
    column = ranking.judge(lambda found: recall(found.annotated_QR), DEEPEST)
    values = [column.metrics[f"R@{k}"] for k in RECALL_AT]
    means = {"meanR3": float(np.mean(values[:3])), "meanR4": float(np.mean(values))}
    return Column(metrics={**column.metrics, **means}, queries=column.queries, notes=column.notes)
