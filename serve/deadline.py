"""How long a request may take: the caller's word for it where it is shorter than ours, carried to all that is done."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.problems import Problem

HEADER = "x-request-timeout"
"""Seconds from the request's head on that its caller waits."""


class Deadline:
    """Of one request. Our own time counts from the moment its body is there: a slow sender has limits of its own.

    Args:
        asked_s: by the caller, from now on; None: as long as we allow.
    """

    def __init__(self, asked_s: float | None) -> None:
        now = asyncio.get_running_loop().time()
        self._asked = math.inf if asked_s is None else now + asked_s
        self._end: float | None = None
        self._began = now

    def left(self, allowed_s: float) -> float:
        """Seconds that are left of the request, of which `allowed_s` were ours when this was first asked."""
        now = asyncio.get_running_loop().time()
        if self._end is None:
            self._end = min(self._asked, now + allowed_s)
        return self._end - now

    @asynccontextmanager
    async def within(self, allowed_s: float) -> AsyncIterator[None]:
        """Work that has to be done in time.

        Raises:
            Problem: 504.
        """
        left_s = self.left(allowed_s)
        try:
            async with asyncio.timeout(left_s):
                yield
        except TimeoutError:
            assert self._end is not None
            raise Problem(504, "timeout", f"No answer within {self._end - self._began:.3g} s.") from None


_current: ContextVar[Deadline] = ContextVar("deadline")


def current() -> Deadline:
    """Of the request that is worked on."""
    return _current.get()


class Deadlines:
    """ASGI middleware: gives each request its `Deadline`; 400 for a header that is no time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            connection = HTTPConnection(scope)
            try:
                asked_s = _seconds(connection.headers.get(HEADER))
            except ValueError:
                refusal = Problem(400, "bad-timeout", f"{HEADER} is not a number of seconds above 0.")
                await refusal.response(connection)(scope, receive, send)
                return
            _current.set(Deadline(asked_s))
        await self.app(scope, receive, send)


def _seconds(given: str | None) -> float | None:
    if given is None:
        return None
    seconds = float(given)
    if not 0 < seconds < math.inf:
        raise ValueError(given)
    return seconds
