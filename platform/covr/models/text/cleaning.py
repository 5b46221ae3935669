"""The two text cleanings of the published systems; a checkpoint wants the one that it was trained with.

`tf-covr` writes small numbers as words and keeps the full stop; `covr` (also of BSE-CoVR) does neither.
"""

from __future__ import annotations

import re
from typing import Literal

Cleaning = Literal["tf-covr", "covr", "none"]

MAX_WORDS = 30
"""Words kept of a text."""

_WHOLE = ("", "one", "two", "three", "four", "five", "six", "seven")
_NUMBERS = {0.5: "half", **{float(n): _WHOLE[n] for n in range(1, 8)}}
_NUMBERS |= {n + 0.5: f"{_WHOLE[n]} and a half" for n in range(1, 7)}  # counts of turns and somersaults end at seven
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")
_PUNCTUATION = {"tf-covr": re.compile(r'[!"()*#:;~]'), "covr": re.compile(r'[.!"()*#:;~]')}


def clean(text: str, cleaning: Cleaning) -> str:
    """`text` as a published system hands it to its tokenizer.

    Example:
        >>> clean("Show with 2.5 somersaults.", "tf-covr")
        'show with two and a half somersaults.'
        >>> clean("Show with 2.5 somersaults.", "covr")
        'show with 2 5 somersaults'
    """
    text = unclipped(text, cleaning)
    return text if cleaning == "none" else " ".join(text.split(" ")[:MAX_WORDS])


def unclipped(text: str, cleaning: Cleaning) -> str:
    """`clean`, with all of its words."""
    if cleaning == "none":
        return text
    if cleaning == "tf-covr":
        text = _NUMBER.sub(lambda match: _NUMBERS.get(float(match[0]), match[0]), text)
    text = _PUNCTUATION[cleaning].sub(" ", text.lower())
    return re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")
