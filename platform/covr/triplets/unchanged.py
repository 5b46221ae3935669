"""Train triplets that ask for what the query is already.

Else a model takes "to the left" for "to the other side": no clip that goes left is ever asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covr.triplets.modifications import write
from covr.triplets.pairs import Pair
from covr.triplets.rows import triplet


def unchanged(
    attributes: Mapping[str, Mapping[str, str]],
    by_label: Mapping[tuple[str, str], Sequence[str]],
    clips_per_label: int,
    wordings: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Triplets of edit `none`: the text names a value of the query's own, the other clips of its label are right.

    Args:
        attributes: label -> attribute -> value; an empty value is none.
        by_label: (split, label) -> clips.
        clips_per_label: so many of each label are asked for, each once; one attribute after another.
    """
    triplets = []
    for label, values in attributes.items():
        clips = by_label.get(("train", label), ())
        names = [name for name, value in values.items() if value]
        if len(clips) < 2 or not names:
            continue
        for number, query in enumerate(rng.permutation(clips)[:clips_per_label].tolist()):
            pair = Pair(source=label, target=label, changed=(names[number % len(names)],))
            texts = [wording.text for wording in write(pair, values, values, wordings, rng)]
            others = [clip for clip in clips if clip != query]
            row = triplet("train", pair, query, others[rng.integers(len(others))], others, texts, seen=True)
            triplets.append({**row, "tags": {**row["tags"], "edit": "none"}})
    return triplets
