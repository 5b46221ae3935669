"""A part of an index in a replica of its own: the clips whose ids a stable hash gives it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ray import serve as ray_serve

from covr.errors import UserError
from covr.index.live import view_of
from covr.index.snapshot import Ranked, Snapshot
from covr.index.view import Entry, View
from covr.storage import Place
from serve import tracing
from serve.batches import Batches
from serve.query import Generation, Query, Stored
from serve.ranking import Near, best, near, rank
from serve.replies import UnknownClip, Unready
from serve.settings import Settings

logger = logging.getLogger("ray.serve")

_HELD = 2  # generations: the one that answers, and the one before or after a swap


def shard_of(clip_id: str, count: int) -> int:
    """The shard, of `count`, that holds a clip: the same on every machine and in every release."""
    return int.from_bytes(hashlib.sha256(clip_id.encode("utf-8", "surrogatepass")).digest()[:8]) % count


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one shard found."""

    ranked: Ranked
    rows: dict[str, dict[str, Any]]
    """Of the clips table; none where the page is not the first, and only some of `ranked` are shown."""
    changes: int
    """The last change of the index that has come here."""
    search_ms: float
    newest: tuple[Generation, int] | None
    """What the writer told last, and when."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replaced:
    """The query's clip is another one than it was encoded with; this is what is kept of it."""

    stored: Stored


@ray_serve.deployment
class Shard:
    """One part of `count`. Parts are loaded when a generation is first named, by the writer or by a query."""

    def __init__(self, settings: Settings, number: int) -> None:
        self._batches = Batches(self._rank, settings.max_batch_size, settings.batch_wait_s)
        self._root, self._number, self._count = Place(settings.root), number, settings.shards
        self._views: OrderedDict[Generation, View] = OrderedDict()
        self._newest: tuple[Generation, int] | None = None
        self._loading = asyncio.Lock()  # a change is not lost between the reading of a log and the use of what was read

    async def load(self, generation: Generation) -> Unready | None:
        """Hold this part of a generation."""
        async with self._loading:
            if generation not in self._views:
                try:
                    view = await asyncio.to_thread(self._read, generation)
                except UserError as error:
                    logger.error("shard %d: %s", self._number, error)
                    return Unready(reason=error.what)
                self._views[generation] = view
                while len(self._views) > _HELD:
                    self._views.popitem(last=False)
        return None

    async def commit(self, generation: Generation, since: int) -> None:
        """This generation answers from now on."""
        self._newest = generation, since

    async def apply(self, generation: Generation, clip_id: str, entry: Entry | None, number: int) -> None:
        """A change of one of this shard's clips that is on disk: put, or removed where `entry` is None.

        Args:
            number: of the change, counted from the generation's snapshot.
        """
        async with self._loading:
            for held, view in self._views.items():
                if held.fingerprint != generation.fingerprint or (held == generation and number <= view.changes):
                    continue
                if entry is not None:
                    view = view.put(entry)
                elif clip_id in view:
                    view = view.remove(clip_id)
                self._views[held] = replace(view, changes=number) if held == generation else view

    async def search(
        self, generation: Generation, query: Query, vector_D: np.ndarray, mark: int | None
    ) -> Part | Replaced | UnknownClip | Unready:
        """The best clips of this part.

        Args:
            mark: of what the query was encoded with, where its clip is an indexed one.
        """
        if refused := await self._held(generation):
            return refused
        view = self._views[generation]
        if query.clip_id is not None and shard_of(query.clip_id, self._count) == self._number:
            kept = await self.stored(generation, query.clip_id)
            if not isinstance(kept, Stored):
                return kept
            if kept.mark != mark:
                return Replaced(stored=kept)
        return await self._batches.answer((view, query, vector_D))

    async def near(self, generation: Generation, query: Query, vector_D: np.ndarray, count: int) -> Near | Unready:
        """The best `count` of this part, to ask again with."""
        if refused := await self._held(generation):
            return refused
        view = self._views[generation]
        (ranked,) = await asyncio.to_thread(best, view, vector_D[None], [query], count)
        return near(view, ranked)

    async def stored(self, generation: Generation, clip_id: str) -> Stored | UnknownClip | Unready:
        """What is kept of a clip of this part."""
        if refused := await self._held(generation):
            return refused
        view = self._views[generation]
        if clip_id not in view:
            return UnknownClip()
        return Stored(feature=view.feature(clip_id), vector_D=view.vector(clip_id))

    async def rows(self, generation: Generation, clip_ids: list[str]) -> list[dict[str, Any]] | Unready:
        """The rows of those of the clips that are indexed here."""
        if refused := await self._held(generation):
            return refused
        view = self._views[generation]
        return view.describe([clip_id for clip_id in clip_ids if clip_id in view])

    async def _held(self, generation: Generation) -> Unready | None:
        return None if generation in self._views else await self.load(generation)

    def _read(self, generation: Generation) -> View:
        place = self._root / "index" / generation.snapshot
        whole = Snapshot.load(place, target_fingerprint=generation.target_fingerprint)
        return view_of(self._root / "index", whole.part(self._mine), self._mine)

    def _mine(self, clip_id: str) -> bool:
        return shard_of(clip_id, self._count) == self._number

    async def _rank(self, asked: Sequence[tuple[View, Query, np.ndarray]]) -> list[Part]:
        found: list[Part | None] = [None] * len(asked)
        for view in {id(view): view for view, _, _ in asked}.values():
            rows = [row for row, (of, _, _) in enumerate(asked) if of is view]
            for row, part in zip(
                rows, await asyncio.to_thread(self._parts, view, [asked[r] for r in rows]), strict=True
            ):
                found[row] = part
        return [part for part in found if part is not None]

    def _parts(self, view: View, asked: list[tuple[View, Query, np.ndarray]]) -> list[Part]:
        start = time.perf_counter()
        queries = [query for _, query, _ in asked]
        ranked = rank(view, np.stack([vector_D for _, _, vector_D in asked]), queries)
        took_ms = 1000 * (time.perf_counter() - start)
        for query in queries:
            tracing.stages(
                query.trace, [("rank", took_ms)], {"covr.batch_size": len(queries), "covr.shard": self._number}
            )
        return [
            Part(
                ranked=answer,
                rows={} if query.offset else _by_id(view.describe(answer.clip_ids)),
                changes=view.changes,
                search_ms=took_ms,
                newest=self._newest,
            )
            for query, answer in zip(queries, ranked, strict=True)
        ]


def _by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["clip_id"]: row for row in rows}
