"""Pairs of labels or captions that differ in one place by a few words, and the words of the difference.

As CoVR finds its pairs (captions that differ in one word), with up to three words on either side.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from covr.triplets.pairs import Pair

MOST_WORDS = 3
_MOST_IN_ONE_PLACE = 400  # labels that share all but one place; more than these are sampled

_FRAMES = {
    "replace": (
        "{added} instead of {removed}",
        "with {added} instead of {removed}",
        "not {removed} but {added}",
        "change {removed} to {added}",
        "make it {added}",
        "{added}",
    ),
    "add": ("with {added}", "add {added}", "the same with {added}", "now also {added}"),
    "remove": ("without {removed}", "the same without {removed}", "remove {removed}", "no {removed}"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """From a source label to a target label."""

    pair: Pair
    """Its edit is replace, add or remove."""
    removed: str
    added: str


def words_of(label: str) -> tuple[str, ...]:
    """The words of a label in lower case; underscores part words, punctuation at their ends does not count."""
    found = (word.strip(".,;:!?\"'()[]") for word in re.split(r"[\s_]+", label.lower()))
    return tuple(word for word in found if word)


def differences(labels: Iterable[str], rng: np.random.Generator) -> list[Difference]:
    """Every ordered pair of labels that have words in common and differ in one place by up to three words.

    Where no two labels have a word in common, every pair of short labels: the whole label is then the difference.
    """
    known = {label: words for label in sorted(set(labels)) if (words := words_of(label))}
    return _found(known, 1, rng) or _found(known, 0, rng)


def _found(known: dict[str, tuple[str, ...]], least_shared: int, rng: np.random.Generator) -> list[Difference]:
    places: dict[tuple, list[tuple[str, str]]] = defaultdict(list)
    for label, words in known.items():
        for start, length in itertools.product(range(len(words) + 1), range(MOST_WORDS + 1)):
            end = start + length
            if end <= len(words) and len(words) - length >= least_shared:
                places[words[:start], words[end:]].append((label, " ".join(words[start:end])))
    found: dict[tuple[str, str], Difference] = {}
    for labels in places.values():
        if len(labels) > _MOST_IN_ONE_PLACE:
            labels = [labels[i] for i in sorted(rng.permutation(len(labels))[:_MOST_IN_ONE_PLACE])]
        for (source, removed), (target, added) in itertools.permutations(labels, 2):
            if source == target or removed == added:
                continue
            before = found.get((source, target))
            if before is None or len(removed) + len(added) < len(before.removed) + len(before.added):
                edit = "replace" if removed and added else "add" if added else "remove"
                pair = Pair(source=source, target=target, changed=(edit,))
                found[source, target] = Difference(pair=pair, removed=removed, added=added)
    return [found[pair] for pair in sorted(found)]


def write_difference(difference: Difference, num: int, rng: np.random.Generator) -> Sequence[str]:
    """Up to `num` wordings, all different, of the change from source to target."""
    frames = _FRAMES[difference.pair.edit]
    chosen = rng.permutation(len(frames))[:num]
    return [frames[i].format(added=difference.added, removed=difference.removed) for i in chosen]
