"""Descriptions of clips in varied words, from their own labels: what a description model would have to see.

They stand in the texts table as kind `description`, for the methods that read one of the query clip (BSE-CoVR). They
are true by construction, as no model's are: a row that reads them knows its query clip's label.
"""

from __future__ import annotations

import hashlib

import numpy as np

from covr.datasets.motions.grammar import Label
from covr.triplets.modifications import VALUES

WRITER = 1
"""Raised when the same clip gets another description."""

_PEOPLE = ("a person", "someone", "a gymnast", "an athlete", "the performer")
_VERBS = ("moves", "is seen", "performs", "is at work", "shows a routine")
_OPENINGS = ("", "in this clip ", "the video shows how ", "here ", "against a plain wall ")


def describe(label: Label, clip_id: str, seed: int) -> str:
    """One sentence that names event, element, count and side of a clip; the same clip has the same."""
    stream = hashlib.sha256(f"{seed}/description/{clip_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(stream[:16]))

    def one(choices: tuple[str, ...]) -> str:
        return choices[rng.integers(len(choices))]

    phrases = [one(VALUES[name][value]) for name, value in label.attributes().items()]
    told = ", ".join(phrases[place] for place in rng.permutation(len(phrases)))
    return f"{one(_OPENINGS)}{one(_PEOPLE)} {one(_VERBS)} {told}"
