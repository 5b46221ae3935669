"""The one process that holds a pair and changes it: adds and removes clips, compacts, swaps."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import numpy as np

from covr.client.schema import Mode
from covr.errors import UserError
from covr.storage import Place
from serve.changes import Changes
from serve.pair import Named, Pair, named
from serve.replies import Described, Kept, NotChanged, UnknownClip, Unready
from serve.settings import Settings
from serve.watch import watch

logger = logging.getLogger("ray.serve")
_T = TypeVar("_T")


class Keeper:
    """Holds one `Pair`. A pair that cannot be loaded leaves the replica up, unready with the reason."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pair: Pair | None = None
        self._before: Pair | None = None
        self._since = time.time_ns()
        self._changing = asyncio.Lock()  # one change, compaction or swap at a time
        self._changes = Changes(Place(settings.root))
        self._compacting: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[Any]] = set()
        self._unready = Unready(reason="")
        self._refused: str | None = None
        try:
            self._pair = _checked(settings)
        except UserError as error:
            logger.error("not ready: %s", error)
            self._unready = Unready(reason=error.what)  # what was wrong, without where: callers see it

    def _follow(self) -> None:
        """From now on take what `index/current.json` names, where that is asked for; in the replica's event loop."""
        if self._settings.watch_s is not None:
            work = watch(self, self._settings.watch_s)
            self._watching = asyncio.create_task(work, context=contextvars.Context())

    async def other(self) -> Named | None:
        """The pair that `index/current.json` names now; None: the one that is held."""
        try:
            found = await asyncio.to_thread(named, Place(self._settings.root))
        except (UserError, OSError) as error:
            self._refuse(error)
            return None
        async with self._changing:  # a compaction names its pair before it takes it
            if self._pair is None or found != self._pair.named:
                return found
            self._refused = None
            return None

    async def reload(self) -> Described | Kept:
        """Take the pair that `index/current.json` names now, once it has answered known queries; meanwhile, and where
        it fails, the old one answers."""
        return await self._to_its_end(self._reload())

    async def _reload(self) -> Described | Kept:
        async with self._changing:
            try:
                pair = await asyncio.to_thread(_checked, self._settings)
                if self._pair is not None:
                    pair = await asyncio.to_thread(self._changes.carried, self._pair, pair)
                since = await self._taking(pair)
            except (UserError, OSError) as error:
                self._changes.close()  # the next change opens the old pair's log
                return Kept(reason=self._refuse(error))
            self._refused = None
            self._before, self._pair, self._since = self._pair, pair, since
            # Queries that were decoded for the old pair have come by then.
            asyncio.get_running_loop().call_later(self._settings.timeout_s, self._forget, self._before)
            logger.info("swapped to retriever %s, index %s", pair.retriever, pair.index)
            return self._described(pair)

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

        return await self._to_its_end(self._change(clip["clip_id"], change))

    async def remove(self, clip_id: str) -> Described | Unready | UnknownClip | NotChanged:
        """Index a clip no more."""

        def change(pair: Pair) -> Pair | None:
            if clip_id not in pair:
                return None
            if len(pair) == 1:
                raise UserError("an index holds at least one clip", "", "add another first")
            return self._changes.remove(pair, clip_id)

        return await self._to_its_end(self._change(clip_id, change)) or UnknownClip()

    async def _change(self, clip_id: str, change: Callable[[Pair], Pair | None]) -> Any:
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
            await self._changed(pair, clip_id)
        if pair.view.changes >= self._settings.compact_after and self._compacting is None:
            self._compacting = asyncio.create_task(self._compact())
        return self._described(pair)

    async def _compact(self) -> None:
        """In the background: queries go on, changes wait."""
        try:
            async with self._changing:
                assert self._pair is not None
                pair = await asyncio.to_thread(self._changes.compacted, self._pair)
                if pair is not self._pair:
                    since = await self._taking(pair)
                    await asyncio.to_thread(self._changes.publish, pair)
                    self._pair, self._since = pair, since
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
        """What answers."""
        return self._unready if self._pair is None else self._described(self._pair)

    async def _to_its_end(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What has begun is done, also where its caller goes away: what is on disk is then in memory, and told.

        In a context of its own, because Serve ends what is asked of other replicas with the request it was asked for.
        """
        task = asyncio.create_task(work, context=contextvars.Context())
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    async def _taking(self, pair: Pair) -> int:
        """Before a pair is taken: whoever else answers with it takes it. When that was, in nanoseconds.

        Raises:
            UserError: one of them cannot.
        """
        return max(time.time_ns(), self._since + 1)  # clocks go back

    async def _changed(self, pair: Pair, clip_id: str) -> None:
        """After a change of one clip is on disk, before it is acknowledged."""

    def _refuse(self, error: UserError | OSError) -> str:
        """Why the pair that is named is not taken, without where: callers see it."""
        reason = error.what if isinstance(error, UserError) else "a file could not be read or written"
        if reason != self._refused:
            logger.error("not swapped: %s", error)
        self._refused = reason
        if self._pair is None:
            self._unready = Unready(reason=reason)
        return reason

    def _forget(self, pair: Pair | None) -> None:
        if self._before is pair:
            self._before = None

    def _described(self, pair: Pair) -> Described:
        return Described(
            clips=len(pair),
            retriever=pair.retriever,
            index=pair.index,
            sampling=pair.encoder.sampling,
            decoder=pair.encoder.decoder,
            generation=pair.generation,
            since=self._since,
            canary=pair.view.clip_ids[0],
            refused=self._refused,
        )


def _checked(settings: Settings) -> Pair:
    pair = Pair.load(Place(settings.root))
    pair.check()
    return pair
