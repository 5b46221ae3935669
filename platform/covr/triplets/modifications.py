"""Writes modifications from attributes: what changes, in varied words, and nothing else.

Each changed attribute becomes an adverbial phrase with a meaning: the value itself ("twice"), or the change where the
source makes it one ("once more", "to the other side"). Phrases are put into a frame ("show it ..."). What a phrase
does not say, nobody can read from it: `Modification.meaning` is what a reader of the text knows. An attribute that
stays as it is can be asked for by its value only.

Gymnastics has phrases of its own (`VALUES`); any other attribute is named beside its value ("with colour red").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from covr.triplets.pairs import Pair

FRAMES = (
    "{}",
    "show it {}",
    "show the same {}",
    "now {}",
    "the same, but {}",
    "do it {}",
    "make it {}",
    "{} instead",
)
JOINS = (" and ", ", ", ", and ")

VALUES: dict[str, dict[str, tuple[str, ...]]] = {
    "event": {
        "floor": ("on the floor", "on the gym floor", "on the mat"),
        "beam": ("on the beam", "on the balance beam", "up on the beam"),
        "pool": ("by the pool", "at the poolside", "beside the water"),
    },
    "element": {
        "back flip": ("as a back flip", "with a back flip", "with a flip backwards"),
        "cartwheel": ("as a cartwheel", "with a cartwheel", "with a wheel over the hands"),
        "forward roll": ("as a forward roll", "with a roll", "with a roll forwards"),
        "spin kick": ("as a spin kick", "with a spin kick", "with a spinning kick"),
        "jump": ("as a jump", "with a jump", "with a leap"),
    },
    "count": {
        "1": ("once", "just once", "one time"),
        "2": ("twice", "two times", "2 times"),
        "3": ("three times", "3 times", "with 3 repetitions"),
    },
    "side": {
        "left": ("to the left", "towards the left", "going left"),
        "right": ("to the right", "towards the right", "going right"),
    },
}
"""attribute -> value -> phrases that name the value."""

CHANGES: dict[int, tuple[str, ...]] = {
    1: ("once more", "one more time", "with one extra repetition"),
    2: ("two more times", "with two extra repetitions"),
    -1: ("one time fewer", "with one repetition less"),
    -2: ("two times fewer", "with two repetitions less"),
}
"""Change of the count -> phrases that name the change."""
PLAIN = ("with {name} {target}", "with {name} {target}, not {source}", "with {target} for {name}")
"""Phrases for attributes and values that have none of their own."""
OTHER_SIDE = ("to the other side", "in the opposite direction", "mirrored")


@dataclass(frozen=True, kw_only=True, slots=True)
class Modification:
    """A sentence, and what it says: (attribute, value or change) for each changed attribute."""

    text: str
    meaning: tuple[tuple[str, str], ...]


def write(
    pair: Pair, source: Mapping[str, str], target: Mapping[str, str], num: int, rng: np.random.Generator
) -> list[Modification]:
    """`num` wordings, all different, of the change from `source` to `target` (attribute -> value)."""
    found: dict[str, Modification] = {}
    while len(found) < num:
        phrases = [_phrase(name, source[name], target[name], rng) for name in pair.changed]
        order = rng.permutation(len(phrases))
        joined = JOINS[rng.integers(len(JOINS))].join(phrases[i][0] for i in order)
        text = FRAMES[rng.integers(len(FRAMES))].format(joined)
        meaning = tuple((name, sense) for name, (_, sense) in zip(pair.changed, phrases, strict=True))
        found.setdefault(text, Modification(text=text, meaning=meaning))
    return list(found.values())


def _phrase(name: str, source: str, target: str, rng: np.random.Generator) -> tuple[str, str]:
    """A phrase for one changed attribute and its meaning."""
    if not {source, target} <= VALUES.get(name, {}).keys():
        said = {"name": name.replace("_", " "), "source": source, "target": target}
        plain = PLAIN if source != target else [phrase for phrase in PLAIN if "{source}" not in phrase]
        return plain[rng.integers(len(plain))].format(**said), target
    choices = [(phrase, target) for phrase in VALUES[name][target]]
    if name == "side" and source != target:
        choices += [(phrase, "other") for phrase in OTHER_SIDE]
    if name == "count" and source != target:
        change = int(target) - int(source)
        choices += [(phrase, f"{change:+d}") for phrase in CHANGES[change]]
    return choices[rng.integers(len(choices))]
