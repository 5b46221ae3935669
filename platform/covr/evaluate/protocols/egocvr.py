"""EgoCVR: recall of any right answer, among all clips (global) or among those of the query's own video (local).

As published, the query's own clip stays in the gallery where the gallery lists it; corrected, it is no answer.
Queries with fewer than two clips to choose from are left out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from covr.evaluate.metrics import recall
from covr.evaluate.ranking import Column, Ranking, Reading

GLOBAL_AT, LOCAL_AT = (1, 5, 10), (1, 2, 3)


def published(ranking: Ranking, gallery: str, ks: tuple[int, ...]) -> Column:
    """R@K over the clips of each query's gallery."""
    rows = replace(ranking.within(gallery).once(), least_gallery=2)
    return rows.judge(lambda found: recall(found.hits_QR, ks), max(ks))


def corrected(ranking: Ranking, gallery: str, ks: tuple[int, ...]) -> Column:
    """The same without the query's own clip."""
    others = replace(ranking.within(gallery).without_own().once(), least_gallery=2)
    return others.judge(lambda found: recall(found.hits_QR, ks), max(ks))


def _readings(gallery: str, ks: tuple[int, ...]) -> dict[str, Reading]:
    return {
        read.__name__: Reading(gallery=gallery, read=partial(read, gallery=gallery, ks=ks))
        for read in (published, corrected)
    }


GLOBAL_READINGS = _readings("global", GLOBAL_AT)
LOCAL_READINGS = _readings("local", LOCAL_AT)
