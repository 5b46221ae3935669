"""Bounds on a request's body, kept while it arrives: nothing larger or slower is read to its end."""

from __future__ import annotations

import asyncio

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from covr.limits import LIMITS, Limits
from serve.problems import Problem


class BodyGuard:
    """ASGI middleware: 413 for a body over the limit, 408 for one that comes too slowly, 415 for a compressed one."""

    def __init__(self, app: ASGIApp, limits: Limits = LIMITS) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refusal = self._refuse(connection)
        if refusal:
            await refusal.response(connection)(scope, receive, send)
            return
        body = _Body(receive, self.limits)
        await self.app(scope, body.receive, send)

    def _refuse(self, connection: HTTPConnection) -> Problem | None:
        if connection.headers.get("content-encoding", "identity").lower() != "identity":
            return Problem(415, "compressed-body", "Send the body without Content-Encoding.")
        length = connection.headers.get("content-length", "0")
        if not length.isdecimal():
            return Problem(400, "bad-length", "Content-Length is not a number.")
        return too_large(self.limits) if int(length) > self.limits.max_body_bytes else None


class _Body:
    """Counts and times what arrives, whatever the Content-Length said."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._bytes, self._complete = 0, False
        self._deadline = asyncio.get_running_loop().time() + limits.body_timeout_s

    async def receive(self) -> Message:
        if self._complete:  # what comes now is the client's leaving
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            detail = f"The body did not arrive within {self._limits.body_timeout_s:g} s."
            raise Problem(408, "slow-body", detail) from None
        self._bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._bytes > self._limits.max_body_bytes:
            raise too_large(self._limits)
        return message


def too_large(limits: Limits) -> Problem:
    """413, saying how much is allowed."""
    return Problem(413, "body-too-large", f"The body is over the limit of {limits.max_body_bytes >> 20} MiB.")
