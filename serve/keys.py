"""API keys: a file of hashes, names and scopes; a key itself is seen once, when it is made.

    {"keys": [{"name": "press", "sha256": "...", "scopes": ["query"], "expires": "2027-01-01T00:00:00Z"}]}

A key is 256 random bits, so that its plain SHA-256 tells nothing of it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from covr.errors import UserError
from covr.storage import Place

Scope = Literal["query", "ingest", "admin"]


class Key(BaseModel):
    """Who may do what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: list[Scope] = Field(min_length=1)
    expires: AwareDatetime | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: list[Key] = Field(min_length=1)


class Keys:
    """The keys that an endpoint knows."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.entries = list(keys)

    @classmethod
    def read(cls, place: Place) -> Keys:
        """From a file.

        Raises:
            UserError: it is not there, not as it must be, or has a name twice.
        """
        try:
            keys = _File.model_validate_json(place.read_bytes()).keys
        except ValidationError as error:
            first = error.errors()[0]
            where = f"{place}: {'.'.join(map(str, first['loc'])) or 'the whole file'}"
            raise UserError(f"not a file of keys ({first['msg']})", where, "make entries with `covr key`") from None
        names = [key.name for key in keys]
        if len(set(names)) != len(names):
            raise UserError("two keys have one name", str(place), "give each its own")
        return cls(keys)

    def find(self, given: str) -> Key | None:
        """The key that was given, unless it has expired; the time taken tells nothing of how near a guess is."""
        digest = _digest(given)
        found = None
        for key in self.entries:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return None if found is None or (found.expires and found.expires <= datetime.now(UTC)) else found


def make(name: str, scopes: Sequence[Scope], expires: datetime | None = None) -> tuple[str, Key]:
    """A new key: what its owner gets, and the entry for the file."""
    secret = "covr_" + secrets.token_urlsafe(32)
    return secret, Key(name=name, sha256=_digest(secret), scopes=list(scopes), expires=expires)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
