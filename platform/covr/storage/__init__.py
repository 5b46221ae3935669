"""A place by URI: reading, atomic publishing, tables of parts, manifests."""

from covr.storage.place import Place
from covr.storage.store import TableStore

__all__ = ["Place", "TableStore"]
