"""Query encoder and index in one replica: one hop from the gateway, queries answered in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ray import serve as ray_serve

from serve import tracing
from serve.batches import Batches
from serve.keeper import Keeper
from serve.pair import Pair
from serve.query import Found, Query
from serve.replies import Described, Late, NoText, OtherIndex, Refusal, UnknownClip, Unready
from serve.settings import Settings


@ray_serve.deployment
class Retrieval(Keeper):
    """A `Keeper` that answers queries itself."""

    def __init__(self, settings: Settings) -> None:
        self._batches = Batches(self._answer, settings.max_batch_size, settings.batch_wait_s)
        super().__init__(settings)
        self._follow()

    async def search(self, query: Query) -> Found | Refusal:
        """Answer one query, together with others that wait."""
        pair = self._pair
        if pair is None:
            return self._unready
        if self._before is not None and query.retriever == self._before.retriever:
            pair = self._before  # its frames were sampled a moment before the swap
        if query.clip_id is not None and query.clip_id not in pair:
            return UnknownClip()
        if query.mode == "text" and not pair.encoder.reads_text:
            return NoText()
        if query.index is not None and not pair.index.startswith(query.index):
            return OtherIndex()
        return await self._batches.answer((pair, query, time.perf_counter()))

    async def prove(self) -> Described | Unready:
        """`describe`, once a true query was answered on the way that all queries take."""
        if self._pair is not None:
            await self._batches.answer((self._pair, self._pair.canary(), time.perf_counter()))
        return await self.describe()

    async def _answer(self, asked: Sequence[tuple[Pair, Query, float]]) -> list[Found | Late]:
        found: list[Found | Late] = [Late()] * len(asked)
        for pair in {id(pair): pair for pair, _, _ in asked}.values():  # two of them just after a swap
            rows = [row for row, (of, query, since) in enumerate(asked) if of is pair and not query.late(since)]
            if rows:
                queries = [asked[row][1] for row in rows]
                queued_ms = [1000 * (time.perf_counter() - asked[row][2]) for row in rows]
                # In a thread, so that the queries of the next batch can arrive meanwhile.
                for row, answer in zip(rows, await asyncio.to_thread(pair.answer, queries, queued_ms), strict=True):
                    found[row] = answer
                    took_ms = [("queue", answer.queue_ms), ("encode", answer.encode_ms), ("rank", answer.search_ms)]
                    tracing.stages(asked[row][1].trace, took_ms, {"covr.batch_size": answer.batch_size})
        return found
