"""Query encoders as replicas of their own, as many as there are queries for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence

from ray import serve as ray_serve

from covr.errors import UserError
from covr.index.current import Current
from covr.storage import Place
from serve import tracing
from serve.batches import Batches
from serve.pair import Pair, stored
from serve.query import Asked, Generation, Query, Stored
from serve.replies import Late, NoText, NotStored, Unready
from serve.settings import Settings

logger = logging.getLogger("ray.serve")

_HELD = 2  # as in `serve.shard`


@ray_serve.deployment
class Encoding:
    """Holds the retriever, and what the index kept of each clip when it was loaded.

    It hears of no change of a clip after that. The clip's shard does: it compares marks, and says what it keeps where
    they differ.
    """

    def __init__(self, settings: Settings) -> None:
        self._batches = Batches(self._encode, settings.max_batch_size, settings.batch_wait_s)
        self._root = Place(settings.root)
        self._pairs: OrderedDict[Generation, Pair] = OrderedDict()
        self._loading = asyncio.Lock()
        try:
            pair = Pair.load(self._root)
            pair.encode([pair.canary()])  # pays for what the first query would
            self._hold(pair)
        except UserError as error:  # the writer says so as well, and is asked before any query
            logger.error("not ready: %s", error)

    async def load(self, generation: Generation) -> Unready | None:
        """Hold a generation."""
        async with self._loading:
            if generation in self._pairs:
                return None
            try:
                current = Current(snapshot=generation.snapshot, retriever=generation.retriever)
                pair = await asyncio.to_thread(Pair.load, self._root, current)
            except UserError as error:
                logger.error("not loaded: %s", error)
                return Unready(reason=error.what)
            if pair.generation != generation:
                return Unready(reason=f"{generation.retriever} is another retriever by now")
            await asyncio.to_thread(pair.encode, [pair.canary()])  # pays for what the first query would
            self._hold(pair)
        return None

    async def encode(
        self, generation: Generation, query: Query, kept: Stored | None = None
    ) -> Asked | NotStored | NoText | Late | Unready:
        """One query, together with others that wait.

        Args:
            kept: what the index keeps of the query's clip, where that was asked for.
        """
        if generation not in self._pairs and (refused := await self.load(generation)):
            return refused
        pair = self._pairs[generation]
        if query.mode == "text" and not pair.encoder.reads_text:
            return NoText()
        if query.clip_id is not None and kept is None:
            if query.clip_id not in pair:
                return NotStored()
            kept = stored(pair.view, query.clip_id)
        return await self._batches.answer((pair, query, kept, time.perf_counter()))

    def _hold(self, pair: Pair) -> None:
        self._pairs[pair.generation] = pair
        while len(self._pairs) > _HELD:
            self._pairs.popitem(last=False)

    async def _encode(self, asked: Sequence[tuple[Pair, Query, Stored | None, float]]) -> list[Asked | Late]:
        found: list[Asked | Late] = [Late()] * len(asked)
        for pair in {id(pair): pair for pair, _, _, _ in asked}.values():
            rows = [row for row, (of, query, _, since) in enumerate(asked) if of is pair and not query.late(since)]
            if not rows:
                continue
            queries, kept = [asked[row][1] for row in rows], [asked[row][2] for row in rows]
            start = time.perf_counter()
            encoded = await asyncio.to_thread(pair.encoder.encode, queries, kept)
            took_ms = 1000 * (time.perf_counter() - start)
            for row, one, of in zip(rows, encoded, kept, strict=True):
                found[row] = Asked(
                    encoded=one,
                    mark=None if of is None else of.mark,
                    queue_ms=1000 * (start - asked[row][3]),
                    encode_ms=took_ms,
                    batch_size=len(rows),
                )
                stages = [("queue", 1000 * (start - asked[row][3])), ("encode", took_ms)]
                tracing.stages(asked[row][1].trace, stages, {"covr.batch_size": len(rows)})
        return found
