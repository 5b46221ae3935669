"""Every request counted, traced and written to the audit log: who, what, with which result; no body and no query."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import tracing
from serve.access import CALLER
from serve.metrics import Metrics
from serve.problems import KIND, request_id

GONE = 499
"""The status under which a request is counted whose caller did not wait for its answer; nginx's word for it."""


class Observed:
    """ASGI middleware around all others.

    Args:
        audit: a file that grows by one JSON line a request; None: no log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, audit: Path | None) -> None:
        self.app, self._metrics = app, metrics
        self._audit = None if audit is None else audit.open("a", buffering=1, encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.begun()
        connection = HTTPConnection(scope)
        with tracing.request(connection) as span:
            try:
                await self.app(scope, receive, sending)
            except asyncio.CancelledError:
                status = GONE
                raise
            finally:
                took_s = time.perf_counter() - start
                route = getattr(scope.get("route"), "path", "none")  # as declared: a path has as many values as clips
                self._metrics.ended(route, status, took_s, scope.get(KIND))
                tracing.answered(span, scope["method"], route, status, request_id(connection))
                if self._audit is not None:
                    self._audit.write(json.dumps(_entry(scope, status, took_s)) + "\n")


def _entry(scope: Scope, status: int, took_s: float) -> dict[str, object]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": request_id(HTTPConnection(scope)),
        "caller": scope.get(CALLER),
        "client": (scope.get("client") or ("",))[0],
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "took_ms": round(1000 * took_s, 3),
    }
