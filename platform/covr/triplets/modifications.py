"""Modifications: many ways to say what changes between two labels, and nothing else.

A modification is a *frame* around *phrases*, one phrase for each changed attribute. Some phrases name the new value
("on the beam", "three times"), others the step to it ("one fewer", "mirror it"). Nothing names what stays, nor an
element by article or plural, which would tell how many. All stay within the thirty words that text encoders read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from covr.triplets.pairs import LabelPair


@dataclass(frozen=True, slots=True)
class Phrases:
    """How one change is said: as a command of its own, or after "show it"."""

    commands: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wordings:
    """A set of frames and phrases; `values` are by attribute and new value, `steps` by attribute and step."""

    values: Mapping[tuple[str, str], Phrases]
    steps: Mapping[tuple[str, str], Phrases] = field(default_factory=dict)
    command_frames: tuple[str, ...] = ("{}",)
    after_frames: tuple[str, ...] = ("show it {}",)
    command_joins: tuple[str, ...] = ("{} and {}",)
    after_joins: tuple[str, ...] = ("{} and {}",)

    def phrases(self, attribute: str, old: str, new: str) -> list[Phrases]:
        """All phrases that turn `old` into `new`."""
        step = (attribute, _step(attribute, old, new))
        return [table[key] for table, key in ((self.values, (attribute, new)), (self.steps, step)) if key in table]

    def one(self, changes: list[tuple[str, str, str]], rng: np.random.Generator) -> str:
        """One wording of the changes (attribute, old value, new value), drawn at random."""
        commands = rng.random() < 0.5
        said = []
        for i in rng.permutation(len(changes)):
            known = self.phrases(*changes[i])
            phrases = known[rng.integers(len(known))]
            said.append(_any(phrases.commands if commands else phrases.after, rng))
        text = said[0]
        for more in said[1:]:
            text = _any(self.command_joins if commands else self.after_joins, rng).format(text, more)
        return _any(self.command_frames if commands else self.after_frames, rng).format(text)


def _any(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def _step(attribute: str, old: str, new: str) -> str:
    """A count changes by a signed number; a side can only be the other one."""
    return f"{int(new) - int(old):+d}" if attribute == "count" else "other"


def modifications(
    wordings: Wordings,
    pair: LabelPair,
    attributes: Mapping[str, Mapping[str, str]],
    number: int,
    rng: np.random.Generator,
) -> list[str]:
    """`number` different wordings of what changes from the pair's source to its target."""
    old, new = attributes[pair.source], attributes[pair.target]
    changes = [(name, old[name], new[name]) for name in pair.changed]
    texts: dict[str, None] = {}
    while len(texts) < number:
        texts[wordings.one(changes, rng)] = None
    return list(texts)


COMMON = Wordings(
    values={
        ("event", "floor"): Phrases(
            ("move it to the floor", "take it to the floor exercise", "switch to the floor"),
            ("on the floor", "on the floor exercise", "down on the floor"),
        ),
        ("event", "beam"): Phrases(
            ("move it to the beam", "take it to the balance beam", "switch to the beam"),
            ("on the beam", "on the balance beam", "up on the beam"),
        ),
        ("event", "pool"): Phrases(
            ("move it to the pool", "take it to the swimming pool", "switch to the pool"),
            ("at the pool", "by the pool", "beside the water of the pool"),
        ),
        ("element", "back flip"): Phrases(
            ("switch to the back flip", "do the back flip", "make the element back flip"),
            ("with the back flip", "as back flip", "with back flip as the element"),
        ),
        ("element", "cartwheel"): Phrases(
            ("switch to the cartwheel", "do the cartwheel", "make the element cartwheel"),
            ("with the cartwheel", "as cartwheel", "with cartwheel as the element"),
        ),
        ("element", "forward roll"): Phrases(
            ("switch to the forward roll", "do the forward roll", "make the element forward roll"),
            ("with the forward roll", "as forward roll", "with forward roll as the element"),
        ),
        ("element", "spin kick"): Phrases(
            ("switch to the spin kick", "do the spin kick", "make the element spin kick"),
            ("with the spin kick", "as spin kick", "with spin kick as the element"),
        ),
        ("element", "jump"): Phrases(
            ("switch to the jump", "do the jump", "make the element jump"),
            ("with the jump", "as jump", "with jump as the element"),
        ),
        ("count", "1"): Phrases(
            ("do it once", "do it one time", "make it a single one"),
            ("once", "just once", "one time", "with 1 repetition"),
        ),
        ("count", "2"): Phrases(
            ("do it twice", "do it two times", "make it two in a row"),
            ("twice", "two times", "2 times", "with 2 repetitions"),
        ),
        ("count", "3"): Phrases(
            ("do it three times", "do it 3 times", "make it three in a row"),
            ("three times", "3 times", "with three repetitions", "with 3 repetitions"),
        ),
        ("side", "left"): Phrases(
            ("go to the left", "travel to the left", "head left"),
            ("to the left", "going left", "towards the left side"),
        ),
        ("side", "right"): Phrases(
            ("go to the right", "travel to the right", "head right"),
            ("to the right", "going right", "towards the right side"),
        ),
    },
    steps={
        ("count", "+1"): Phrases(("do one more", "add one repetition"), ("once more", "with one more repetition")),
        ("count", "+2"): Phrases(
            ("do two more", "add two repetitions"), ("two more times", "with two more repetitions")
        ),
        ("count", "-1"): Phrases(("do one fewer", "drop one repetition"), ("with one fewer", "one time less")),
        ("count", "-2"): Phrases(("do two fewer", "drop two repetitions"), ("with two fewer", "two times less")),
        ("side", "other"): Phrases(
            ("mirror it", "go the other way", "swap the direction"),
            ("mirrored", "in the other direction", "the other way round"),
        ),
    },
    command_frames=("{}", "now {}", "please {}", "{} instead", "same again but {}"),
    after_frames=("show it {}", "now {}", "the same {}", "{} instead", "same again but {}", "let me see it {}"),
    command_joins=("{} and {}", "{}, {}", "{}, then also {}"),
    after_joins=("{} and {}", "{}, {}", "{} but also {}"),
)
"""What training, validation and test say."""

UNSEEN = Wordings(
    values={
        ("event", "floor"): Phrases(("bring it onto the gym floor",), ("across the gym floor",)),
        ("event", "beam"): Phrases(("put it atop the balance beam",), ("along the narrow beam",)),
        ("event", "pool"): Phrases(("bring it to the poolside",), ("next to the swimming pool",)),
        ("element", "back flip"): Phrases(("replace the skill by the backflip",), ("using the backward somersault",)),
        ("element", "cartwheel"): Phrases(("replace the skill by the cartwheel",), ("using the sideways cartwheel",)),
        ("element", "forward roll"): Phrases(("replace the skill by the roll",), ("using the rolling forward",)),
        ("element", "spin kick"): Phrases(("replace the skill by the spinning kick",), ("using the spinning kick",)),
        ("element", "jump"): Phrases(("replace the skill by the leap",), ("using the jumping",)),
        ("count", "1"): Phrases(("keep only a single repetition",), ("for a total of one",)),
        ("count", "2"): Phrases(("have a pair of repetitions",), ("for a total of two",)),
        ("count", "3"): Phrases(("have a series of three",), ("for a total of three",)),
        ("side", "left"): Phrases(("aim for the left",), ("moving leftwards",)),
        ("side", "right"): Phrases(("aim for the right",), ("moving rightwards",)),
    },
    command_frames=("could you {}?", "this time {}"),
    after_frames=("i would like to find it {}", "which one goes like this {}?", "search for it {}"),
    command_joins=("{} as well as {}",),
    after_joins=("{} plus {}",),
)
"""Frames and phrases that only the test split has, for how well a retriever takes wordings it never saw."""
