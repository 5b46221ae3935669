"""Ordered pairs of labels that differ in one or two attributes: what a modification can ask for."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A source label, a target label, and the attributes in which they differ, in the order of the attributes."""

    source: str
    target: str
    changed: tuple[str, ...]

    @property
    def edit(self) -> str:
        """The kind of edit, e.g. `count` or `event+side`."""
        return "+".join(self.changed)

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


def label_pairs(labels: Mapping[str, Mapping[str, str]], max_changes: int = 2) -> list[Pair]:
    """Every ordered pair of different labels that differ in at most `max_changes` attributes.

    Args:
        labels: label -> attribute -> value; all labels have the same attributes in the same order.
    """
    pairs = []
    for source, target in itertools.permutations(labels, 2):
        changed = tuple(name for name, value in labels[source].items() if labels[target][name] != value)
        if 0 < len(changed) <= max_changes:
            pairs.append(Pair(source=source, target=target, changed=changed))
    return pairs


def sample_evenly(pairs: Sequence[Pair], num: int, rng: np.random.Generator) -> list[Pair]:
    """About `num` of the pairs (all, where there are fewer), the same number of each kind of edit."""
    by_edit: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_edit[pair.edit].append(pair)
    each = -(-num // max(len(by_edit), 1))
    return [group[i] for group in by_edit.values() for i in sorted(rng.permutation(len(group))[:each])]


def hold_out(pairs: Sequence[Pair], share: float, rng: np.random.Generator) -> set[Pair]:
    """About the same share of each kind of edit, to be kept from training; a pair and its reverse go together."""
    by_edit: dict[str, dict[frozenset[str], list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        by_edit[pair.edit][frozenset((pair.source, pair.target))].append(pair)
    held_out: set[Pair] = set()
    for both_ways in by_edit.values():
        groups = list(both_ways.values())
        wanted = len(held_out) + share * sum(map(len, groups))
        for i in rng.permutation(len(groups)).tolist():
            if len(held_out) >= wanted - 0.5:
                break
            held_out.update(groups[i])
    return held_out
