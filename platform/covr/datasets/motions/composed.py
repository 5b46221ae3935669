"""Composed queries over `motions`, as TF-CoVR builds them: label pairs, modifications, all right answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covr.datasets.motions.sizes import Size
from covr.errors import UserError
from covr.report.console import say
from covr.triplets.ceilings import oracle_map
from covr.triplets.modifications import write
from covr.triplets.pairs import hold_out, label_pairs, sample_evenly
from covr.triplets.rows import galleries, triplet
from covr.triplets.unchanged import unchanged

COMPOSER = 2
"""Raised when the same clips and seed give other queries."""
WORDINGS = 4
HELD_OUT = 0.2
"""Share of the label pairs that only the test split asks for."""
NOTHING_CHANGES = 8
"""Clips of each label, in the train split, that are asked for as they are."""
MAX_CEILING = 0.2
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """Rows of the triplets and galleries tables."""

    triplets: list[dict[str, Any]]
    galleries: list[dict[str, Any]]


def compose(clips: Sequence[Mapping[str, Any]], size: Size, seed: int) -> Composed:
    """Triplets of every split over rows of the clips table.

    Raises:
        UserError: one modality alone could answer too many of the test queries.
    """
    rng = np.random.default_rng([seed, 1])
    attributes = {str(label): label.attributes() for label in size.labels}
    pairs = label_pairs(attributes)
    single = [pair for pair in pairs if len(pair.changed) == 1]
    double = [pair for pair in pairs if len(pair.changed) == 2]
    asked = single + sample_evenly(double, size.two_attribute_pairs, rng)
    held_out = hold_out(asked, HELD_OUT, rng)
    by_label: dict[tuple[str, str], list[str]] = defaultdict(list)
    for clip in clips:
        by_label[clip["split"], clip["label"]].append(clip["clip_id"])

    triplets, members, meanings = [], [], []
    for split, num_queries in zip(SPLITS, size.queries_per_pair, strict=True):
        for pair in asked:
            if split != "test" and pair in held_out:
                continue
            sources, targets = by_label[split, pair.source], by_label[split, pair.target]
            for query in rng.permutation(sources)[:num_queries].tolist():
                wordings = write(pair, attributes[pair.source], attributes[pair.target], WORDINGS, rng)
                annotated = targets[rng.integers(len(targets))]
                texts = [wording.text for wording in wordings]
                triplets.append(triplet(split, pair, query, annotated, targets, texts, seen=pair not in held_out))
                if split == "test":
                    meanings.append(wordings[0].meaning)
        if split == "train":
            triplets += unchanged(attributes, by_label, NOTHING_CHANGES, WORDINGS, np.random.default_rng([seed, 2]))
        members += galleries(split, [clip["clip_id"] for clip in clips if clip["split"] == split], triplets)
    test = [row for row in triplets if row["split"] == "test"]
    _check_ceilings(test, meanings, dict.fromkeys(attributes, size.test), size.measures)
    return Composed(triplets=triplets, galleries=members)


def _check_ceilings(
    test: Sequence[Mapping[str, Any]], meanings: Sequence[Any], label_sizes: Mapping[str, int], measures: bool
) -> None:
    targets = [row["target_label"] for row in test]
    sources = [row["tags"]["pair"].split(" -> ")[0] for row in test]
    for sight, evidence in (("the text", meanings), ("the query's label", sources)):
        ceiling = oracle_map(evidence, targets, label_sizes)
        bound = f"at most {100 * MAX_CEILING:.0f}" if measures else "not held to a bound at this size"
        say(f"  mAP@10 of an oracle that sees only {sight}: {100 * ceiling:.1f} ({bound})")
        if measures and ceiling > MAX_CEILING:
            raise UserError(
                f"an oracle that sees only {sight} reaches mAP@10 {100 * ceiling:.1f}",
                "motions",
                "give more labels, or fewer pairs that differ in two attributes",
            )
