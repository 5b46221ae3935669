"""Query encoder and index in one replica: one hop from the gateway, queries answered in batches."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from ray import serve as ray_serve

from covr.client.schema import Mode
from covr.clips import Sampling
from covr.clips.decode import Decoder
from covr.errors import UserError
from covr.storage import Place
from serve.pair import Found, Pair, Query
from serve.settings import Settings

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unready:
    """The replica runs but cannot answer."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownClip:
    """No clip of this id is indexed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoText:
    """The retriever reads no text, and the query is nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherIndex:
    """The index is not the one that the pages before are from."""


Refusal = Unready | UnknownClip | NoText | OtherIndex


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """What a replica answers with."""

    clips: int
    retriever: str
    index: str
    sampling: dict[Mode, Sampling]
    decoder: Decoder


@ray_serve.deployment
class Retrieval:
    """Holds one `Pair`. A pair that cannot be loaded leaves the replica up, unready with the reason."""

    def __init__(self, settings: Settings) -> None:
        self._answer.set_max_batch_size(settings.max_batch_size)  # type: ignore[attr-defined]
        self._answer.set_batch_wait_timeout_s(settings.batch_wait_s)  # type: ignore[attr-defined]
        self._pair: Pair | None = None
        self._unready = Unready(reason="")
        try:
            pair = Pair.load(Place(settings.root))
            pair.answer([pair.canary()])  # also pays for what the first query would
            self._pair = pair
        except UserError as error:
            logger.error("not ready: %s", error)
            self._unready = Unready(reason=error.what)  # what was wrong, without where: callers see it

    async def search(self, query: Query) -> Found | Refusal:
        """Answer one query, together with others that wait."""
        if self._pair is None:
            return self._unready
        if query.clip_id is not None and query.clip_id not in self._pair:
            return UnknownClip()
        if query.mode == "text" and not self._pair.reads_text:
            return NoText()
        if query.index is not None and not self._pair.index.startswith(query.index):
            return OtherIndex()
        return await self._answer(query)

    async def clip(self, clip_id: str) -> dict[str, Any] | Unready | UnknownClip:
        """The row of an indexed clip."""
        if self._pair is None:
            return self._unready
        return self._pair.clip(clip_id) or UnknownClip()

    async def describe(self) -> Described | Unready:
        """What this replica answers with."""
        if self._pair is None:
            return self._unready
        pair = self._pair
        return Described(
            clips=len(pair),
            retriever=pair.retriever,
            index=pair.index,
            sampling=pair.sampling,
            decoder=pair.decoder,
        )

    async def prove(self) -> Described | Unready:
        """`describe`, once a true query was answered on the way that all queries take."""
        if self._pair is not None:
            await self._answer(self._pair.canary())
        return await self.describe()

    @ray_serve.batch
    async def _answer(self, queries: list[Query]) -> list[Found]:
        assert self._pair is not None
        # In a thread, so that the queries of the next batch can arrive meanwhile.
        return await asyncio.to_thread(self._pair.answer, queries)
