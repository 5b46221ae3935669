"""The pair that is served: which snapshot, and which retriever's queries it answers.

Both stand in one small file, `index/current.json`, that is replaced in one atomic write, so that a reader never
sees the index of one retriever beside another.
"""

from __future__ import annotations

from dataclasses import dataclass

from covr.errors import UserError
from covr.storage import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Current:
    """A snapshot and its retriever, by their names under the storage root."""

    snapshot: str
    """The snapshot's fingerprint, a folder under `index/`."""
    retriever: str
    """The retriever's place: relative to the root, or a URI."""

    def write(self, root: Place) -> None:
        """Make this the served pair."""
        place_of(root).write_json({"snapshot": self.snapshot, "retriever": self.retriever})

    @classmethod
    def read(cls, root: Place) -> Current:
        """The served pair.

        Raises:
            UserError: nothing was indexed yet, or the file is damaged.
        """
        place = place_of(root)
        if not place.exists():
            raise UserError("no index is there", str(place), "run jobs/index.py first")
        try:
            return cls(**place.read_json())
        except (ValueError, TypeError):
            raise UserError("the index's pointer is damaged", str(place), "run jobs/index.py again") from None

    def snapshot_place(self, root: Place) -> Place:
        """The snapshot's folder."""
        return root / "index" / self.snapshot

    def retriever_uri(self, root: Place) -> str:
        """Where the retriever is loaded from."""
        return self.retriever if ":/" in self.retriever else str(root.resolve(self.retriever))


def place_of(root: Place) -> Place:
    """Where the pointer stands under a storage root."""
    return root / "index" / "current.json"
