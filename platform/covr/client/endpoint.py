"""The Python client of the endpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from covr.client import asks, sending
from covr.client.asks import Answer, Ask, ClipOptions, SearchOptions
from covr.client.schema import Clip, Ready, Removed, SearchAnswer, Serving

DEFAULT_URL = "http://127.0.0.1:8000"


class Client:
    """A connection to one endpoint; usable as a context manager. `AsyncClient` is the same for asyncio.

    A connection that is lost and an endpoint that is busy or restarts are asked again; a change of the index goes under
    an Idempotency-Key, so that it is made once.

    Args:
        base_url: of the server with its route prefix, e.g. `http://127.0.0.1:8000`.
        timeout_s: for one request as a whole to connect, to write and to be answered; the endpoint is told, and does
            not work for longer.
        key: an API key, where the endpoint asks for one.
        retries: how often a request is sent again at most.

    Example:
        >>> with Client() as client:
        ...     answer = client.search(clip_id="a", text="with two turns", k=5)
        ...     print(answer.results[0].clip_id)
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
            self._http = httpx.Client(**sending.options(self.base_url, timeout_s, key))
        except httpx.InvalidURL as error:
            raise sending.not_a_url(base_url, error) from None

    def search(self, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """The clips that are like the query's video but changed as the text says.

        Args:
            options: `covr.client.asks.SearchOptions`.

        Raises:
            RequestRefused: the endpoint refused the query: an unknown clip, not a video, a limit, not ready.
            UserError: nothing to search by, nothing answers at the URL, or the file cannot be read.
        """
        return self._ask(asks.search(options))

    def search_many(self, queries: Sequence[Mapping[str, Any]]) -> list[SearchAnswer]:
        """The answers to several queries in one request, in their order.

        Args:
            queries: the fields of `covr.client.SearchQuery` each.

        Raises:
            RequestRefused: the endpoint refused one of them, which is named; none is answered.
        """
        return self._ask(asks.search_many(queries)).answers

    def clip(self, clip_id: str, *, retriever: str | None = None) -> Clip:
        """An indexed clip.

        Raises:
            RequestRefused: no clip of this id is indexed.
        """
        return self._ask(asks.clip(clip_id, retriever))

    def add_clip(self, clip_id: str, video: str | Path, **options: Unpack[ClipOptions]) -> Clip:
        """Index a video or image file, or replace the clip of this id; it is on disk there and found when this returns.

        Args:
            options: `covr.client.asks.ClipOptions`.

        Raises:
            RequestRefused: not a video, a limit, or the index cannot be changed.
        """
        return self._ask(asks.add_clip(clip_id, video, options))

    def remove_clip(self, clip_id: str, *, retriever: str | None = None) -> Removed:
        """Index a clip no more.

        Raises:
            RequestRefused: no clip of this id is indexed.
        """
        return self._ask(asks.remove_clip(clip_id, retriever))

    def ready(self) -> Ready:
        """What serves, once it has answered a query of its own.

        Raises:
            RequestRefused: it is not ready; the message says why.
        """
        return self._ask(asks.ready())

    def reload(self, *, retriever: str | None = None) -> Serving:
        """Have the endpoint swap to the retriever and index that its storage root names now.

        Raises:
            RequestRefused: the new pair was refused, and why; the old one goes on.
        """
        return self._ask(asks.reload(retriever))

    def fetch(self, link: str) -> bytes:
        """The bytes behind a `media` or `thumbnail` link of an answer."""
        return self._send("GET", str(httpx.URL(self.base_url).join(link))).content

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, ask: Ask[Answer]) -> Answer:
        headers = ask.headers()
        with sending.content(ask) as body:
            response = self._send(ask.method, ask.path, params=ask.params, headers=headers, **body)
        return sending.answered(ask, response, self.base_url)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        pauses = sending.pauses(self._retries)
        while True:
            outcome: httpx.Response | httpx.HTTPError | httpx.InvalidURL
            try:
                outcome = self._http.request(method, path, **content)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                outcome = error
            wait_s = sending.again_after(outcome, pauses)
            if wait_s is None:
                return sending.checked(outcome, self.base_url)
            time.sleep(wait_s)
