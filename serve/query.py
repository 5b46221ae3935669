"""What is asked and what is found, as it passes between gateway and replicas."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from covr.client.filters import Node
from covr.client.schema import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A retriever and a snapshot that answer together: what a swap replaces."""

    snapshot: str
    """The snapshot's fingerprint, a folder under `index/`."""
    retriever: str
    """Where the retriever is loaded from, as `index/current.json` names it."""
    fingerprint: str
    """Of the retriever: a name like `models:/covr@champion` may mean another one by now."""
    target_fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """An indexed clip or decoded frames, a text, or both."""

    text: str | None = None
    k: int
    offset: int = 0
    """Answers that are passed over: those of the pages before."""
    filter: Node | None = None
    exclude: tuple[str, ...] = ()
    index: str | None = None
    """The start of the fingerprint of the index that the pages before are from."""
    clip_id: str | None = None
    frames_TCHW: np.ndarray | None = None
    """uint8 RGB, sampled as the pair's `sampling` says for the query's mode."""
    retriever: str | None = None
    """Fingerprint of the retriever that the frames were sampled for."""
    description: str = ""
    """Of the clip that was sent, for a model that reads one; of an indexed clip, the texts table has it."""
    timeout_s: float | None = None
    """What is left of the caller's time when it is sent on; None: it waits."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """Names the span that it is asked under to other processes (`serve.tracing`)."""
    sha256: str | None = None
    """Of the file that the frames are from; an indexed clip that is this very file is not an answer."""

    def late(self, arrived: float) -> bool:
        """Whether its caller has gone by now, where it came at `arrived` on this process's `time.perf_counter`."""
        return self.timeout_s is not None and time.perf_counter() - arrived > self.timeout_s

    @property
    def mode(self) -> Mode:
        """What the query is made of."""
        if self.clip_id is None and self.frames_TCHW is None:
            return "text"
        return "video" if self.text is None else "composed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What the index keeps of a query's clip."""

    feature: np.ndarray
    """What the query side reads, float32."""
    vector_D: np.ndarray
    """Its target vector, float32."""

    @property
    def mark(self) -> int:
        """Tells one clip under an id from another."""
        return zlib.crc32(self.feature.tobytes(), zlib.crc32(self.vector_D.tobytes()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One query as the index is asked it."""

    vector_D: np.ndarray
    """float32."""
    text_share: float | None
    """The fusion's weight of the text against the video; None where it has none."""
    truncated: bool
    """The end of the text was not read."""
    unseen: list[str] | None
    """Words of the text that the retriever was never trained on; None where that is not known."""
    confident_from: float | None
    """The score from which on the first answer is to be relied on; infinite: none is. None: it is not known."""
    expand: int | None = None
    """How many of its best answers are added to the vector before it is asked again; None: it is asked once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A query that is a vector now."""

    encoded: Encoded
    mark: int | None
    """Of what it was encoded with, where its clip is an indexed one."""
    queue_ms: float
    encode_ms: float
    batch_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Answers to one query, best first: scores and the rows of the clips table."""

    scores: list[float]
    clips: list[dict[str, Any]]
    more: bool
    """There are answers behind these."""
    encoded: Encoded
    confident: bool | None
    """Of the first answer of all, also where this page begins behind it."""
    queue_ms: float
    encode_ms: float
    search_ms: float
    retriever: str
    index: str
    batch_size: int
    """Queries that were answered in the same pass."""
