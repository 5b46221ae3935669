"""A storage root some of whose folders are another root's: many trainings over one data set."""

from __future__ import annotations

from collections.abc import Mapping

from covr.storage.place import Place


class Overlay(Place):
    """A place like any other, but that `place / name` leads elsewhere for the names in `shared`.

    Args:
        place: where everything else lies.
        shared: name of a folder directly below -> the place that stands for it.
    """

    def __init__(self, place: Place, shared: Mapping[str, Place]) -> None:
        super().__init__(str(place))
        self.shared = dict(shared)

    def __truediv__(self, name: str) -> Place:
        first, _, rest = name.partition("/")
        if first not in self.shared:
            return super().__truediv__(name)
        return self.shared[first] / rest if rest else self.shared[first]

    def __reduce__(self):
        return (Overlay, (Place(str(self)), self.shared))
