"""`Client` for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from covr.client import asks, sending
from covr.client.asks import Answer, Ask, ClipOptions, SearchOptions
from covr.client.endpoint import DEFAULT_URL
from covr.client.schema import Clip, Ready, Removed, SearchAnswer, Serving


class AsyncClient:
    """As `covr.client.Client`: the same methods, arguments and errors, to be awaited. A cancelled call is cancelled in
    the endpoint too.

    Example:
        >>> async with AsyncClient() as client:
        ...     answers = await asyncio.gather(*(client.search(text=text) for text in texts))
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        timeout_s: float = 60.0,
        key: str | None = None,
        retries: int = sending.RETRIES,
    ) -> None:
        self.base_url, self._retries = base_url.rstrip("/"), retries
        try:
            self._http = httpx.AsyncClient(**sending.options(self.base_url, timeout_s, key))
        except httpx.InvalidURL as error:
            raise sending.not_a_url(base_url, error) from None

    async def search(self, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """The clips that are like the query's video but changed as the text says."""
        return await self._ask(asks.search(options))

    async def search_many(self, queries: Sequence[Mapping[str, Any]]) -> list[SearchAnswer]:
        """The answers to several queries in one request, in their order."""
        return (await self._ask(asks.search_many(queries))).answers

    async def clip(self, clip_id: str, *, retriever: str | None = None) -> Clip:
        """An indexed clip."""
        return await self._ask(asks.clip(clip_id, retriever))

    async def add_clip(self, clip_id: str, video: str | Path, **options: Unpack[ClipOptions]) -> Clip:
        """Index a video or image file, or replace the clip of this id."""
        return await self._ask(asks.add_clip(clip_id, video, options))

    async def remove_clip(self, clip_id: str, *, retriever: str | None = None) -> Removed:
        """Index a clip no more."""
        return await self._ask(asks.remove_clip(clip_id, retriever))

    async def ready(self) -> Ready:
        """What serves, once it has answered a query of its own."""
        return await self._ask(asks.ready())

    async def reload(self, *, retriever: str | None = None) -> Serving:
        """Have the endpoint swap to the retriever and index that its storage root names now."""
        return await self._ask(asks.reload(retriever))

    async def fetch(self, link: str) -> bytes:
        """The bytes behind a `media` or `thumbnail` link of an answer."""
        return (await self._send("GET", str(httpx.URL(self.base_url).join(link)))).content

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, ask: Ask[Answer]) -> Answer:
        headers = ask.headers()
        with sending.content(ask) as body:
            response = await self._send(ask.method, ask.path, params=ask.params, headers=headers, **body)
        return sending.answered(ask, response, self.base_url)

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        pauses = sending.pauses(self._retries)
        while True:
            outcome: httpx.Response | httpx.HTTPError | httpx.InvalidURL
            try:
                outcome = await self._http.request(method, path, **content)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                outcome = error
            wait_s = sending.again_after(outcome, pauses)
            if wait_s is None:
                return sending.checked(outcome, self.base_url)
            await asyncio.sleep(wait_s)
