"""Pages of one answer: a cursor says where the next begins, of which query and of which index."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from covr.limits import LIMITS
from covr.storage.place import fingerprint
from serve.problems import field
from serve.query import Query

_CURSOR = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-(\d{1,9})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """Where a page begins."""

    index: str
    """The first 16 digits of the index's fingerprint."""
    query: str
    """Of the query, without its page."""
    offset: int

    def __str__(self) -> str:
        return f"{self.index}-{self.query}-{self.offset}"


def at(query: Query, cursor: str | None) -> Query:
    """`query` from where a cursor points.

    Raises:
        Problem: 422, not a cursor, or another query's.
    """
    if cursor is None:
        return query
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[3]) > LIMITS.max_offset:
        raise field("cursor", "not a cursor that an answer gave")
    if found[2] != _identity(query):
        raise field("cursor", "the cursor is of another query")
    return replace(query, index=found[1], offset=int(found[3]))


def after(query: Query, index: str) -> str | None:
    """The cursor of the page behind the one that `query` asked for; None beyond the deepest."""
    offset = query.offset + query.k
    return str(Cursor(index=index[:16], query=_identity(query), offset=offset)) if offset <= LIMITS.max_offset else None


def _identity(query: Query) -> str:
    """Of what is asked; the size of a page may change from one to the next."""
    wanted = query.filter.model_dump() if query.filter is not None else None
    return fingerprint(query.text, query.clip_id, query.sha256, wanted, query.exclude)[:16]
