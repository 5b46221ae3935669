"""The words that a retriever was trained on, kept beside it: a word that is none of them says little to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from covr.models.text.cleaning import unclipped
from covr.storage import Place

FILE = "words.json"
_WORD = re.compile(r"[^\W_]+(?:[.'’-][^\W_]+)*")


def words(text: str) -> list[str]:
    """The distinct words of a text in their order, in lower case, small numbers as words.

    Example:
        >>> words("2.5 turns, then two TURNS")
        ['two', 'and', 'a', 'half', 'turns', 'then']
    """
    return list(dict.fromkeys(_WORD.findall(unclipped(text, "tf-covr"))))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of a training set's modifications."""

    words: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Of texts."""
        return cls(frozenset(word for text in texts for word in words(text)))

    @classmethod
    def read(cls, folder: Place) -> Self | None:
        """As `write` left it beside a retriever; None where there is none, as beside published weights."""
        place = folder / FILE
        return cls(frozenset(place.read_json())) if place.exists() else None

    def write(self, folder: Place) -> None:
        """Put it beside a retriever."""
        (folder / FILE).write_json(sorted(self.words))

    def unseen(self, text: str) -> list[str]:
        """The words of a text that are not among these."""
        return [word for word in words(text) if word not in self.words]
