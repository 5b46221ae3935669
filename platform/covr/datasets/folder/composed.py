"""Triplets from labels: pairs and modifications by attributes where there are some, else by the words that differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covr.datasets.dataset import SPLITS
from covr.errors import UserError
from covr.report.console import say
from covr.triplets.ceilings import oracle_map
from covr.triplets.modifications import write
from covr.triplets.pairs import Pair, label_pairs, sample_evenly
from covr.triplets.rows import triplet
from covr.triplets.unchanged import unchanged
from covr.triplets.words import differences, write_difference

UNCHANGED = 0.08
"""Of the train triplets, about so many more that ask for what the query is already; `motions` has as many."""
Writer = Callable[[], tuple[Sequence[str], Hashable]]
"""Wordings of a pair's modification, and what a reader knows from the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """How many queries are made."""

    wordings: int
    max_pairs: int
    queries_per_pair: int


def compose(clips: Sequence[Mapping[str, Any]], attributes: Sequence[str], asking: Asking, seed: int) -> list[dict]:
    """Triplets over rows of the clips table; a query and its targets are of one split.

    Args:
        attributes: names, in the order in which a modification mentions them.

    Raises:
        UserError: fewer than two labels, labels that no modification leads between, or a split without queries.
    """
    rng = np.random.default_rng([seed, 1])
    by_label: dict[tuple[str, str], list[str]] = defaultdict(list)
    values: dict[str, dict[str, str]] = {}
    for clip in clips:
        if clip["label"] is not None:
            by_label[clip["split"], clip["label"]].append(clip["clip_id"])
            of_clip = dict(clip["attributes"] or ())
            values[clip["label"]] = {name: of_clip.get(name, "") for name in attributes}
    if len(values) < 2:
        found = f"the only label is {next(iter(values))!r}" if values else "no clip has a label"
        raise UserError(f"composed queries need two labels or more; {found}", "labels.csv", "label more clips")
    writers = _by_attributes(values, asking, rng) if attributes else _by_words(values, asking, rng)
    if not writers:
        fix = "give attribute columns, or labels that have words in common"
        raise UserError("no two labels differ in one or two attributes, or in a few words", "labels.csv", fix)
    triplets: list[dict] = []
    meanings: list[Hashable] = []
    for split in SPLITS:
        seen = {row["tags"]["pair"] for row in triplets if row["split"] == "train"}
        for pair, write_pair in writers.items():
            sources, targets = by_label.get((split, pair.source)), by_label.get((split, pair.target))
            if not (sources and targets):
                continue
            for query in rng.permutation(sources)[: asking.queries_per_pair].tolist():
                texts, meaning = write_pair()
                annotated = targets[rng.integers(len(targets))]
                known = split == "train" or str(pair) in seen
                triplets.append(triplet(split, pair, query, annotated, targets, texts, seen=known))
                if split == "test":
                    meanings.append(meaning)
    _check_splits(triplets, by_label)
    if attributes:
        of_label = sum(row["split"] == "train" for row in triplets) * UNCHANGED / len(values)
        triplets += unchanged(values, by_label, max(1, round(of_label)), asking.wordings, rng)
    _tell_ceilings([row for row in triplets if row["split"] == "test"], meanings, by_label)
    return triplets


def _by_attributes(
    values: Mapping[str, Mapping[str, str]], asking: Asking, rng: np.random.Generator
) -> dict[Pair, Writer]:
    def writer(pair: Pair) -> Writer:
        def wordings() -> tuple[Sequence[str], Hashable]:
            written = write(pair, values[pair.source], values[pair.target], asking.wordings, rng)
            return [each.text for each in written], written[0].meaning

        return wordings

    pairs = label_pairs(values)
    told = [pair for pair in pairs if all(values[pair.source][n] and values[pair.target][n] for n in pair.changed)]
    chosen = sample_evenly(told, asking.max_pairs, rng) if len(told) > asking.max_pairs else told
    return {pair: writer(pair) for pair in chosen}


def _by_words(values: Mapping[str, Any], asking: Asking, rng: np.random.Generator) -> dict[Pair, Writer]:
    found = {difference.pair: difference for difference in differences(values, rng)}
    chosen = sample_evenly(list(found), asking.max_pairs, rng) if len(found) > asking.max_pairs else list(found)

    def writer(pair: Pair) -> Writer:
        difference = found[pair]
        return lambda: (
            write_difference(difference, asking.wordings, rng),
            (difference.removed, difference.added),
        )

    return {pair: writer(pair) for pair in chosen}


def _check_splits(triplets: Sequence[Mapping[str, Any]], by_label: Mapping[tuple[str, str], list[str]]) -> None:
    asked = {row["split"] for row in triplets}
    if lacking := [split for split in SPLITS if split not in asked]:
        totals: dict[str, int] = defaultdict(int)
        for (_, label), clips in by_label.items():
            totals[label] += len(clips)
        most = max(totals.values())
        found = "every label has one clip" if most == 1 else f"split {lacking[0]} has no two labels to go between"
        raise UserError(
            f"{found}, so no query can be made for {' and '.join(lacking)}",
            "labels.csv",
            "give each of two labels three clips from different source videos, or a split column, or triplets.csv",
        )


def _tell_ceilings(
    test: Sequence[Mapping[str, Any]], meanings: Sequence[Hashable], by_label: Mapping[tuple[str, str], list[str]]
) -> None:
    """What one modality alone could reach: high values mean that the data do not ask for composition."""
    sizes = {label: len(clips) for (split, label), clips in by_label.items() if split == "test"}
    targets = [row["target_label"] for row in test]
    sources = [row["tags"]["pair"].split(" -> ")[0] for row in test]
    for sight, evidence in (("the text", meanings), ("the query's label", sources)):
        say(f"  mAP@10 of an oracle that sees only {sight}: {100 * oracle_map(evidence, targets, sizes):.1f}")
