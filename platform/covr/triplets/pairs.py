"""Label pairs: which two labels make a composed query, and which pairs training never sees.

As TF-CoVR pairs near labels, here those that differ in one or two attributes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Attributes = Mapping[str, Mapping[str, str]]
"""Label -> attribute -> value; every label has the same attributes in the same order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPair:
    """An ordered pair of labels; its modification turns the one into the other."""

    source: str
    target: str
    changed: tuple[str, ...]
    """The attributes in which they differ, in the labels' order."""

    @property
    def edit(self) -> str:
        """The changed attributes in one word: "count", "event+side"."""
        return "+".join(self.changed)

    @property
    def name(self) -> str:
        return f"{self.source} -> {self.target}"

    def statement(self, attributes: Attributes) -> tuple[str, ...]:
        """The most that a modification of this pair can say: the changed attributes' new values."""
        return tuple(f"{name}={attributes[self.target][name]}" for name in self.changed)


def _both_ways(a: str, b: str, changed: tuple[str, ...]) -> tuple[LabelPair, LabelPair]:
    return (
        LabelPair(source=a, target=b, changed=changed),
        LabelPair(source=b, target=a, changed=changed),
    )


def label_pairs(attributes: Attributes, two_attributes: int, rng: np.random.Generator) -> list[LabelPair]:
    """All pairs that differ in one attribute, and about `two_attributes` of those that differ in two.

    Of the latter each two attributes get the same share, and within it pairs are taken so that what the
    modification says is spread over all it could say, and each statement and label over all targets: neither
    then tells the target by itself. A pair is always there both ways.
    """
    by_edit: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for a, b in itertools.combinations(attributes, 2):
        changed = tuple(name for name, value in attributes[a].items() if attributes[b][name] != value)
        by_edit.setdefault(changed, []).append((a, b))
    pairs = [pair for edit, ab in by_edit.items() if len(edit) == 1 for a, b in ab for pair in _both_ways(a, b, edit)]
    doubles = [edit for edit in by_edit if len(edit) == 2]
    uses: Counter = Counter()
    for edit in doubles:
        candidates = [by_edit[edit][i] for i in rng.permutation(len(by_edit[edit]))]
        for _ in range(min(round(two_attributes / len(doubles) / 2), len(candidates))):
            ways = [_both_ways(a, b, edit) for a, b in candidates]
            marks = [
                [key for pair in way for key in (pair.statement(attributes), (pair.source, edit), pair.source)]
                for way in ways
            ]
            best = min(range(len(candidates)), key=lambda i: sum(uses[key] ** 2 for key in marks[i]))
            uses.update(marks[best])
            pairs.extend(ways[best])
            del candidates[best]
    return pairs


def hold_out(pairs: Sequence[LabelPair], share: float, rng: np.random.Generator) -> set[str]:
    """Names of the pairs that only the test split may have: `share` of each edit's, both ways together."""
    by_edit: dict[str, list[frozenset[str]]] = {}
    for pair in pairs:
        both = by_edit.setdefault(pair.edit, [])
        if pair.source < pair.target:
            both.append(frozenset((pair.source, pair.target)))
    held = set()
    for both in by_edit.values():
        held.update(both[i] for i in rng.permutation(len(both))[: round(share * len(both))])
    return {pair.name for pair in pairs if frozenset((pair.source, pair.target)) in held}
