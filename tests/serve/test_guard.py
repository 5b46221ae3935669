"""A body's bounds hold while it arrives, whatever its headers say."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI, Request

from covr.limits import Limits
from serve import problems
from serve.guard import BodyGuard

LIMITS = Limits(max_body_bytes=1 << 20, body_timeout_s=0.2)


def guarded() -> BodyGuard:
    api = FastAPI()
    problems.install(api)

    @api.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    return BodyGuard(api, LIMITS)


def post(chunks: list[bytes], headers: dict[str, str], pause_s: float = 0.0) -> tuple[int, bytes, int]:
    """Status, body, and how many chunks were taken."""
    taken = 0
    sent: list[dict] = []

    async def receive() -> dict:
        nonlocal taken
        await asyncio.sleep(pause_s)
        taken += 1
        return {"type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks)}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(guarded()(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]), taken


def test_a_body_within_the_limit_passes():
    status, body, _ = post([b"x" * 1000] * 3, {"content-length": "3000"})
    assert (status, body) == (200, b"3000")


def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read():
    status, body, taken = post([b"x"], {"content-length": str(200 << 20)})
    assert (status, taken) == (413, 0)
    assert b"limit of 1 MiB" in body


@pytest.mark.parametrize("headers", [{}, {"content-length": "10"}])
def test_what_arrives_is_counted_whatever_was_declared(headers):
    status, _, taken = post([b"x" * (1 << 18)] * 100, headers)
    assert status == 413
    assert taken == 5


def test_a_slow_body_is_given_up():
    status, body, taken = post([b"x"] * 1000, {}, pause_s=0.02)
    assert status == 408
    assert b"0.2 s" in body
    assert taken < 20


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity"])
def test_a_compressed_body_is_refused_unread(encoding):
    status, _, taken = post([b"x"], {"content-encoding": encoding})
    assert (status, taken) == (415, 0)


@pytest.mark.parametrize("length", ["-1", "1e3", "²", "ten", ""])
def test_a_length_that_is_no_number_is_refused(length):
    status, _, taken = post([b"x"], {"content-length": length.encode().decode("latin-1")})
    assert (status, taken) == (400, 0)
