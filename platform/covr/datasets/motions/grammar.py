"""Labels in the grammar of gymnastics and diving: "(Beam) 2 back flips to the right"."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

EVENTS = ("floor", "beam", "pool")
ELEMENTS = ("back flip", "cartwheel", "forward roll", "spin kick", "jump")
COUNTS = (1, 2, 3)
SIDES = ("left", "right")


@dataclass(frozen=True, order=True, slots=True)
class Label:
    """One class of clips: where, what, how many times, to which side it travels on the screen."""

    event: str
    element: str
    count: int
    side: str

    def __str__(self) -> str:
        plural = "s" if self.count > 1 else ""
        return f"({self.event.capitalize()}) {self.count} {self.element}{plural} to the {self.side}"

    def attributes(self) -> dict[str, str]:
        """The same as the map that the clips table holds."""
        return {"event": self.event, "element": self.element, "count": str(self.count), "side": self.side}


def grid(
    events: Sequence[str] = EVENTS,
    elements: Sequence[str] = ELEMENTS,
    counts: Sequence[int] = COUNTS,
    sides: Sequence[str] = SIDES,
) -> list[Label]:
    """Every combination of the values, in order."""
    return [Label(*values) for values in itertools.product(events, elements, counts, sides)]
