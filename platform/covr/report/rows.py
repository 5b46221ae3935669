"""Rows of a comparison side by side: by kind of edit, any against any, and who wins which queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from covr.evaluate import scores
from covr.evaluate.metrics import PRIMARY
from covr.evaluate.queries import Queries
from covr.evaluate.show import KINDS, two_at_once
from covr.storage import Place

DISAGREEMENTS = 5
"""Queries shown of each kind: won, and lost."""


def side_by_side(root: Place, results: Mapping[str, Any], disputes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What the template `rows.html.j2` shows.

    Args:
        root: storage root, with scores.parquet of the rows.
        results: as in results.json, with `pairs`.
        disputes: of which rows the queries are shown that one wins and the other loses.
    """
    return {
        "kinds": KINDS,
        "two_at_once": two_at_once,
        "matrix": {(pair["row"], pair["over"]): pair for pair in results["pairs"]},
        "disagreements": disagreements(root, results["split"], disputes),
    }


def disagreements(root: Place, split: str, disputes: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Of two rows each: queries that the first wins and the second loses, and the reverse."""
    file = root / scores.FILE
    queries = Queries.read(root, split)
    asked = {row["query_id"]: row for row in queries.triplets.to_pylist()}
    found = []
    for row, over in disputes:
        first, second = (scores.read(file.read_bytes(), each, str(file)) for each in (row, over))
        difference_Q = first.values[PRIMARY] - second.values[PRIMARY]
        order = np.argsort(-difference_Q, kind="stable")

        def told_of(places: np.ndarray, ids: list[str] = first.query_ids, by: np.ndarray = difference_Q) -> list:
            return [
                {
                    "text": asked[ids[place]]["modifications"][0],
                    "pair": dict(asked[ids[place]]["tags"] or ()).get("pair") or asked[ids[place]]["target_label"],
                    "difference": 100 * float(by[place]),
                }
                for place in places
            ]

        found.append(
            {
                "row": row,
                "over": over,
                "wins": int((difference_Q > 0).sum()),
                "ties": int((difference_Q == 0).sum()),
                "losses": int((difference_Q < 0).sum()),
                "won": told_of(order[:DISAGREEMENTS][difference_Q[order[:DISAGREEMENTS]] > 0]),
                "lost": told_of(order[::-1][:DISAGREEMENTS][difference_Q[order[::-1][:DISAGREEMENTS]] < 0]),
            }
        )
    return found
