"""Rows of one comparison, any against any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from covr.evaluate.metrics import PRIMARY
from covr.evaluate.results import Scores
from covr.evaluate.significance import holm, paired

NUM_DRAWS = 10_000
"""Of each test: of so many rows that 250 pairs are tested, a p of one in 2,000 would still be no proof."""


def against(row: Scores, other: Scores, of_cluster: np.ndarray) -> dict[str, Any]:
    """How far a row's primary metric lies above another's: {difference, interval} in percent, {p} (see `paired`)."""
    test = paired(row.values[PRIMARY], other.values[PRIMARY], of_cluster, NUM_DRAWS)
    interval = [round(100 * bound, 6) for bound in test.interval]
    return {"difference": round(100 * test.mean, 6), "interval": interval, "p": test.p}


def any_against_any(found: Mapping[str, Scores], of_cluster: np.ndarray) -> list[dict[str, Any]]:
    """Each row less each after it, p adjusted for their number (Holm): {row, over, difference, interval, p}."""
    names = list(found)
    return adjusted(
        [
            {"row": row, "over": other, **against(found[row], found[other], of_cluster)}
            for place, row in enumerate(names)
            for other in names[place + 1 :]
        ]
    )


def adjusted(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same tests, each p adjusted for their number."""
    p = holm([test["p"] for test in tests])
    return [{**test, "p": value} for test, value in zip(tests, p, strict=True)]
