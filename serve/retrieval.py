"""Query encoder and index in one replica: one hop from the gateway, queries answered in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve as ray_serve

from covr.client.schema import Mode
from covr.clips import Sampling
from covr.clips.decode import Decoder
from covr.errors import UserError
from covr.storage import Place
from serve.changes import Changes
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
        self._settings = settings
        self._pair: Pair | None = None
        self._before: Pair | None = None
        self._changing = asyncio.Lock()  # one change, compaction or swap at a time
        self._changes = Changes(Place(settings.root))
        self._compacting: asyncio.Task[None] | None = None
        self._unready = Unready(reason="")
        try:
            self._pair = _checked(settings)
        except UserError as error:
            logger.error("not ready: %s", error)
            self._unready = Unready(reason=error.what)  # what was wrong, without where: callers see it

    async def search(self, query: Query) -> Found | Refusal:
        """Answer one query, together with others that wait."""
        pair = self._pair
        if pair is None:
            return self._unready
        if self._before is not None and query.retriever == self._before.retriever:
            pair = self._before  # its frames were sampled a moment before the swap
        if query.clip_id is not None and query.clip_id not in pair:
            return UnknownClip()
        if query.mode == "text" and not pair.reads_text:
            return NoText()
        if query.index is not None and not pair.index.startswith(query.index):
            return OtherIndex()
        return await self._answer((pair, query))

    async def reload(self) -> Described | Kept:
        """Take the pair that `index/current.json` names now, once it has answered known queries; meanwhile, and where
        it fails, the old one answers."""
        async with self._changing:
            try:
                pair = await asyncio.to_thread(_checked, self._settings)
                if self._pair is not None:
                    pair = await asyncio.to_thread(self._changes.carried, self._pair, pair)
            except UserError as error:
                logger.error("not swapped: %s", error)
                return Kept(reason=error.what)
            self._before, self._pair = self._pair, pair
            # Queries that were decoded for the old pair have come by then.
            asyncio.get_running_loop().call_later(self._settings.timeout_s, self._forget, self._before)
            logger.info("swapped to retriever %s, index %s", pair.retriever, pair.index)
            return _described(pair)

    async def add(
        self, clip: dict[str, Any], frames: dict[Mode, np.ndarray], retriever: str
    ) -> Described | Unready | NotChanged:
        """Index a clip, or replace the one of its id; on disk and found by every query after this.

        Args:
            clip: its row of the clips table.
            frames: sampled as `describe` said.
            retriever: fingerprint of the one they were sampled for.
        """

        def change(pair: Pair) -> Pair:
            if pair.retriever != retriever:
                raise UserError("the retriever was swapped meanwhile", "", "send the clip again")
            return self._changes.add(pair, clip, frames)

        return await self._change(change)

    async def remove(self, clip_id: str) -> Described | Unready | UnknownClip | NotChanged:
        """Index a clip no more."""

        def change(pair: Pair) -> Pair | None:
            if clip_id not in pair:
                return None
            if len(pair) == 1:
                raise UserError("an index holds at least one clip", "", "add another first")
            return self._changes.remove(pair, clip_id)

        return await self._change(change) or UnknownClip()

    async def _change(self, change: Callable[[Pair], Pair | None]) -> Any:
        async with self._changing:
            if self._pair is None:
                return self._unready
            try:
                pair = await asyncio.to_thread(change, self._pair)
            except UserError as error:
                return NotChanged(reason=f"{error.what}: {error.fix}")
            except OSError as error:
                logger.error("a change was not written: %s", error)
                return NotChanged(reason="the change could not be written", full=True)
            if pair is None:
                return None
            self._pair = pair
        if pair.view.changes >= self._settings.compact_after and self._compacting is None:
            self._compacting = asyncio.create_task(self._compact())
        return _described(pair)

    async def _compact(self) -> None:
        """In the background: queries go on, changes wait."""
        try:
            async with self._changing:
                assert self._pair is not None
                self._pair = await asyncio.to_thread(self._changes.compacted, self._pair)
        except (UserError, OSError) as error:
            logger.error("not compacted, the log goes on: %s", error)
        finally:
            self._compacting = None

    async def clip(self, clip_id: str) -> dict[str, Any] | Unready | UnknownClip:
        """The row of an indexed clip."""
        if self._pair is None:
            return self._unready
        return self._pair.clip(clip_id) or UnknownClip()

    async def describe(self) -> Described | Unready:
        """What this replica answers with."""
        return self._unready if self._pair is None else _described(self._pair)

    async def prove(self) -> Described | Unready:
        """`describe`, once a true query was answered on the way that all queries take."""
        if self._pair is not None:
            await self._answer((self._pair, self._pair.canary()))
        return await self.describe()

    def _forget(self, pair: Pair | None) -> None:
        if self._before is pair:
            self._before = None

    @ray_serve.batch
    async def _answer(self, asked: list[tuple[Pair, Query]]) -> list[Found]:
        found: list[Found | None] = [None] * len(asked)
        for pair in {id(pair): pair for pair, _ in asked}.values():  # two of them just after a swap
            rows = [row for row, (of, _) in enumerate(asked) if of is pair]
            # In a thread, so that the queries of the next batch can arrive meanwhile.
            answers = await asyncio.to_thread(pair.answer, [asked[row][1] for row in rows])
            for row, answer in zip(rows, answers, strict=True):
                found[row] = answer
        return [answer for answer in found if answer is not None]


def _checked(settings: Settings) -> Pair:
    pair = Pair.load(Place(settings.root))
    pair.check()
    return pair


def _described(pair: Pair) -> Described:
    return Described(
        clips=len(pair),
        retriever=pair.retriever,
        index=pair.index,
        sampling=pair.sampling,
        decoder=pair.decoder,
    )
