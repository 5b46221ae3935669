"""Who may ask, how often and how many at once; before a byte of the body is read."""

from __future__ import annotations

import math
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from serve.keys import Keys, Scope
from serve.limiter import Rate
from serve.problems import Problem

OPEN = ("/healthz", "/readyz")
"""Probes have no key and are not counted."""
CALLER = "covr.caller"
"""Where the name of the caller's key stands in a connection's scope."""
_ANYONE = "anyone"
_IN_URL = {"key", "api_key", "apikey", "token", "access_token"}


class Access:
    """ASGI middleware: 401 without a key, 403 without its scope, 429 with Retry-After beyond a limit.

    Args:
        keys: None: nobody is asked for one.
        rate: for each key; None: as often as they like.
        max_in_flight: requests worked on at once.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, rate: Rate | None, max_in_flight: int) -> None:
        self.app, self._keys, self._rate, self._max_in_flight = app, keys, rate, max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _path(scope) in OPEN:
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            scope[CALLER] = caller = self._caller(connection)
            self._admit(caller)
        except Problem as refusal:
            await refusal.response(connection)(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._in_flight -= 1

    def _caller(self, connection: HTTPConnection) -> str:
        if self._keys is None:
            return _ANYONE
        if _IN_URL & parse_qs(connection.url.query).keys():
            raise Problem(400, "key-in-url", "A key in a URL ends up in logs: send it as a header, and replace it.")
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        key = self._keys.find(given) if scheme.lower() == "bearer" else None
        if key is None:
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "no-access", "Send `Authorization: Bearer KEY` with a valid key.", headers=headers)
        needed = needed_scope(connection.scope["method"], _path(connection.scope))
        if needed not in key.scopes:
            raise Problem(403, "no-scope", f"This needs a key with the scope {needed}.")
        return key.name

    def _admit(self, caller: str) -> None:
        if self._in_flight >= self._max_in_flight:
            raise _too_many("too-many-at-once", "Too many requests are being worked on.", 1.0)
        wait_s = self._rate.take(caller) if self._rate else 0.0
        if wait_s:
            raise _too_many("too-often", "More requests than this key may send.", wait_s)


def needed_scope(method: str, path: str) -> Scope:
    """What a key must be allowed for a request, where keys are asked for."""
    if path.startswith("/v1/admin") or path == "/metrics":
        return "admin"
    if path.startswith("/v1/clips") and method not in ("GET", "HEAD"):
        return "ingest"
    return "query"


def _path(scope: Connection) -> str:
    """Below the route prefix."""
    return scope["path"].removeprefix(scope.get("root_path", ""))


def _too_many(kind: str, detail: str, wait_s: float) -> Problem:
    return Problem(429, kind, detail, headers={"Retry-After": str(math.ceil(wait_s))})
