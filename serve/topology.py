"""How the gateway asks for answers: of one replica, or of encoders and shards."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from ray.serve.handle import DeploymentHandle

from covr.client.schema import Mode
from covr.storage.place import fingerprint
from serve.calls import again
from serve.query import Asked, Encoded, Found, Generation, Query, Stored
from serve.ranking import Near, confident, merged, with_answers
from serve.replies import Described, NotStored, OtherIndex, Refusal, UnknownClip, Unready
from serve.shard import Part, Replaced, shard_of


class Answering(Protocol):
    """One retriever and its index, behind the gateway. Every method may answer with a refusal of `serve.replies`."""

    async def search(self, query: Query) -> Any:
        """The answers to a query."""

    async def describe(self) -> Any:
        """What answers."""

    async def prove(self) -> Any:
        """What answers, once a true query was answered on the way that all queries take."""

    async def clip(self, clip_id: str) -> Any:
        """The row of an indexed clip."""

    async def add(self, clip: dict[str, Any], frames: dict[Mode, np.ndarray], retriever: str) -> Any:
        """Index a clip."""

    async def remove(self, clip_id: str) -> Any:
        """Index a clip no more."""

    async def reload(self) -> Any:
        """Swap to the pair that the alias names now."""


class Colocated:
    """Encoder and index in one replica."""

    def __init__(self, retrieval: DeploymentHandle) -> None:
        self._retrieval = retrieval

    async def search(self, query: Query) -> Any:
        return await again(self._retrieval.search.remote, query)

    async def describe(self) -> Any:
        return await again(self._retrieval.describe.remote)

    async def prove(self) -> Any:
        return await again(self._retrieval.prove.remote)

    async def clip(self, clip_id: str) -> Any:
        return await again(self._retrieval.clip.remote, clip_id)

    async def add(self, clip: dict[str, Any], frames: dict[Mode, np.ndarray], retriever: str) -> Any:
        return await again(self._retrieval.add.remote, clip, frames, retriever)

    async def remove(self, clip_id: str) -> Any:
        return await again(self._retrieval.remove.remote, clip_id)

    async def reload(self) -> Any:
        return await again(self._retrieval.reload.remote)


class Separate:
    """Encoders, the shards of the index, and its one writer.

    A query takes two hops: an encoder, which keeps what the index had of each clip when it was loaded, then all shards
    at once. Where a clip came or was replaced since, its shard says so, and the query is encoded again.
    """

    def __init__(
        self, encoding: DeploymentHandle, shards: Sequence[DeploymentHandle], writer: DeploymentHandle
    ) -> None:
        self._encoding, self._shards, self._writer = encoding, shards, writer
        self._known: OrderedDict[str, Generation] = (
            OrderedDict()
        )  # by the retriever's fingerprint; the last one answers
        self._since = 0

    async def search(self, query: Query) -> Found | Refusal:
        generation = await self._generation(query)
        if not isinstance(generation, Generation):
            return generation
        kept: Stored | None = None
        while True:
            asked = await again(self._encoding.encode.remote, generation, query, kept)
            if isinstance(asked, NotStored):
                assert query.clip_id is not None
                owner = self._owner(query.clip_id)
                there = await again(owner.stored.remote, generation, query.clip_id)
                if not isinstance(there, Stored):
                    return there
                kept = there
                continue
            if not isinstance(asked, Asked):
                return asked
            vector_D = await self._asked_again(generation, query, asked.encoded)
            if not isinstance(vector_D, np.ndarray):
                return vector_D
            said = await self._of_all("search", generation, query, vector_D, asked.mark)
            refused = next((each for each in said if not isinstance(each, Part | Replaced)), None)
            if refused is not None:
                return refused
            kept = next((each.stored for each in said if isinstance(each, Replaced)), None)
            if kept is None:
                return await self._found(generation, query, asked, said)

    async def _asked_again(self, generation: Generation, query: Query, encoded: Encoded) -> np.ndarray | Unready:
        """The query's vector, with its best answers added where the retriever wants it."""
        if encoded.expand is None:
            return encoded.vector_D
        said = await self._of_all("near", generation, query, encoded.vector_D, encoded.expand)
        refused = next((each for each in said if isinstance(each, Unready)), None)
        if refused is not None:
            return refused
        vectors = {clip_id: vector_D for part in said for clip_id, vector_D in part.vectors.items()}
        best = Near(ranked=merged([part.ranked for part in said], encoded.expand), vectors=vectors)
        return with_answers(encoded.vector_D[None], [best])[0]

    async def describe(self) -> Any:
        described = await again(self._writer.describe.remote)
        return self._heard(described)

    async def prove(self) -> Any:
        described = await self.describe()
        if isinstance(described, Described):
            query = Query(text="the same again", k=1, clip_id=described.canary)
            answer = await self.search(query)
            if not isinstance(answer, Found | UnknownClip):  # the clip may have been removed this moment
                return answer
        return described

    async def clip(self, clip_id: str) -> Any:
        generation = await self._generation()
        if not isinstance(generation, Generation):
            return generation
        rows = await again(self._owner(clip_id).rows.remote, generation, [clip_id])
        return rows if isinstance(rows, Unready) else rows[0] if rows else UnknownClip()

    async def add(self, clip: dict[str, Any], frames: dict[Mode, np.ndarray], retriever: str) -> Any:
        return self._heard(await again(self._writer.add.remote, clip, frames, retriever))

    async def remove(self, clip_id: str) -> Any:
        return self._heard(await again(self._writer.remove.remote, clip_id))

    async def reload(self) -> Any:
        return self._heard(await again(self._writer.reload.remote))

    async def _found(self, generation: Generation, query: Query, asked: Asked, parts: list[Part]) -> Found | Refusal:
        changes = max(part.changes for part in parts)
        index = fingerprint(generation.snapshot, changes) if changes else generation.snapshot
        if query.index is not None and not index.startswith(query.index):
            return OtherIndex()
        for part in parts:
            if part.newest is not None:
                self._take(*part.newest)
        end = query.offset + query.k
        ranked = merged([part.ranked for part in parts], end + 1)
        page = ranked.clip_ids[query.offset : end]
        rows = {clip_id: row for part in parts for clip_id, row in part.rows.items()}
        if query.offset:
            said = await self._of_all("rows", generation, page)
            rows = {row["clip_id"]: row for each in said if not isinstance(each, Unready) for row in each}
            if len(rows) != len(page):  # one was removed since
                return OtherIndex()
        return Found(
            scores=ranked.scores[query.offset : end].tolist(),
            clips=[rows[clip_id] for clip_id in page],
            more=len(ranked.clip_ids) > end,
            encoded=asked.encoded,
            confident=confident(asked.encoded, ranked),
            queue_ms=asked.queue_ms,
            encode_ms=asked.encode_ms,
            search_ms=max(part.search_ms for part in parts),
            retriever=generation.fingerprint,
            index=index,
            batch_size=asked.batch_size,
        )

    async def _of_all(self, method: str, *arguments: Any) -> list[Any]:
        """What every shard says."""
        return await asyncio.gather(*(again(getattr(shard, method).remote, *arguments) for shard in self._shards))

    def _owner(self, clip_id: str) -> DeploymentHandle:
        return self._shards[shard_of(clip_id, len(self._shards))]

    async def _generation(self, query: Query | None = None) -> Generation | Unready:
        """The one that answers now, or the one that a query's frames were sampled for."""
        if not self._known:
            described = await self.describe()
            if not isinstance(described, Described):
                return described
        if query is not None and query.retriever is not None and query.retriever in self._known:
            return self._known[query.retriever]
        return next(reversed(self._known.values()))

    def _heard(self, said: Any) -> Any:
        if isinstance(said, Described):
            self._take(said.generation, said.since)
        return said

    def _take(self, generation: Generation, since: int) -> None:
        if since < self._since:
            return  # said before the last swap, and come after it
        self._since = since
        self._known[generation.fingerprint] = generation
        self._known.move_to_end(generation.fingerprint)
        while len(self._known) > 2:
            self._known.popitem(last=False)
