"""The two clients: the same questions, asked again where that helps, and told to the endpoint how long they wait."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from small_root import CLIP_IDS, TEXT

from covr.client import AsyncClient, Client, RequestRefused
from covr.errors import UserError


def test_the_async_client_says_what_the_other_says(url, served):
    async def run() -> None:
        async with AsyncClient(url) as client:
            answers = await asyncio.gather(*(client.search(clip_id=clip_id, text=TEXT) for clip_id in CLIP_IDS))
            with Client(url) as other:
                for clip_id, answer in zip(CLIP_IDS, answers, strict=True):
                    assert [r.clip_id for r in answer.results] == [
                        r.clip_id for r in other.search(clip_id=clip_id, text=TEXT).results
                    ]
                assert await client.clip("a") == other.clip("a")
                assert await client.ready() == other.ready()
            by_file = await client.search(video=served.media("a"), text=TEXT)
            assert [r.clip_id for r in by_file.results] == [r.clip_id for r in answers[0].results]
            (many,) = await client.search_many([{"text": TEXT}])
            assert await client.fetch(many.results[0].media) == served.media(many.results[0].clip_id).read_bytes()
            with pytest.raises(RequestRefused, match="No clip of this id"):
                await client.remove_clip("nope")
            with pytest.raises(UserError, match="cannot read the video"):
                await client.add_clip("new", "no such file.mp4")

    asyncio.run(run())


@pytest.fixture
def flaky():
    """A server that says in turn what `answers` holds: a status, or None to hang up; and the headers that it got."""
    answers, seen = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(dict(self.headers))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status = answers.pop(0) if answers else 200
            if status is None:
                self.connection.close()
                return
            body = b'{"clip_id": "a"}' if self.command == "DELETE" else b'{"clips": 1, "retriever": "r", "index": "i"}'
            self.send_response(status)
            if status in (429, 503):
                self.send_header("Retry-After", "60" if status == 503 else "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers, seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_passes_is_asked_again_under_one_key(flaky, kind):
    address, answers, seen = flaky

    def ask(name: str, *arguments: object, retries: int = 3) -> object:
        if kind is Client:
            with Client(address, timeout_s=7, retries=retries) as client:
                return getattr(client, name)(*arguments)

        async def run() -> object:
            async with AsyncClient(address, timeout_s=7, retries=retries) as client:
                return await getattr(client, name)(*arguments)

        return asyncio.run(run())

    answers[:] = [None, 429, 502]
    assert ask("remove_clip", "a").clip_id == "a"
    assert len(seen) == 4
    assert len({headers["Idempotency-Key"] for headers in seen}) == 1
    assert {headers["X-Request-Timeout"] for headers in seen} == {"7"}
    ask("remove_clip", "a")
    assert seen[4]["Idempotency-Key"] != seen[0]["Idempotency-Key"]
    ask("ready")
    assert "Idempotency-Key" not in seen[5]
    for status, tries in ((503, 1), (404, 1), (500, 1), (429, 4)):  # 503: it asked for more patience than that
        seen.clear()
        answers[:] = [status] * 9
        with pytest.raises(RequestRefused):
            ask("ready")
        assert len(seen) == tries
    answers[:] = [None]
    with pytest.raises(UserError, match="the request failed"):
        ask("ready", retries=0)
