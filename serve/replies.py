"""What replicas answer beside what was asked for: refusals as values, so that no foreign exception is ever shown."""

from __future__ import annotations

from dataclasses import dataclass

from covr.client.schema import Mode
from covr.clips import Sampling
from covr.clips.decode import Decoder
from serve.query import Generation


@dataclass(frozen=True, kw_only=True, slots=True)
class Unready:
    """The replica runs but cannot answer."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownClip:
    """No clip of this id is indexed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotStored:
    """The query's clip is not indexed as far as is known here: its shard knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoText:
    """The retriever reads no text, and the query is nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherIndex:
    """The index is not the one that the pages before are from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Late:
    """The query's deadline passed while it waited."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The new pair was refused; the old one goes on."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NotChanged:
    """A change was refused; the index is as it was."""

    reason: str
    full: bool = False
    """It could not be written."""


Refusal = Unready | UnknownClip | NoText | OtherIndex | Late


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """What answers."""

    clips: int
    retriever: str
    index: str
    sampling: dict[Mode, Sampling]
    decoder: Decoder
    generation: Generation
    since: int
    """When it was taken, in nanoseconds: of two, the later one answers."""
    canary: str
    """An indexed clip, by which a sound pair answers a query."""
    refused: str | None
    """Why the pair that `index/current.json` names is not the one that answers, where that was tried."""
