"""A job's log through connections that break: over the wire that Ray's job server speaks, each character once."""

from __future__ import annotations

import asyncio
import threading

import pytest
from aiohttp import web

from covr.cluster import follow
from covr.cluster.jobs import JobServer
from covr.errors import UserError

LOG = [f"line {number}\n" for number in range(40)]


class Head:
    """Answers as a job server whose one job writes a chunk a request later; breaks its connections as told."""

    def __init__(self, breaks: list[str]) -> None:
        self.breaks, self.address = breaks, ""
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        assert self._ready.wait(20)

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/jobs/", self._jobs)
        app.router.add_get("/api/jobs/{id}/logs/tail", self._tail)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await asyncio.sleep(60)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"ray_version": "2.60.0", "version": "4"})

    async def _jobs(self, _: web.Request) -> web.Response:
        ended = not self.breaks
        job = {
            "type": "SUBMISSION",
            "submission_id": "a",
            "status": "FAILED" if ended else "RUNNING",
            "entrypoint": "x",
        }
        return web.json_response([{**job, "driver_exit_code": 3 if ended else None, "message": "it failed"}])

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        how = self.breaks.pop(0) if self.breaks else "whole"
        if how == "greeting":
            request.transport.close()
            return web.Response()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        known = LOG if how == "whole" else LOG[: 10 * (4 - len(self.breaks))]
        for start in range(0, len(known), 3):  # chunks are not lines
            await socket.send_str("".join(known[start : start + 3]))
        if how == "dropped":
            request.transport.close()
        elif how == "silent":
            await asyncio.sleep(5)
        await socket.close()
        return socket


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    monkeypatch.setattr(follow, "RETRY_S", 0.1)
    monkeypatch.setattr(follow, "SILENCE_S", 0.5)


def test_each_character_once_and_the_jobs_exit_status():
    head = Head(["dropped", "greeting", "silent", "dropped"])
    written: list[str] = []
    said: list[str] = []
    follower = follow.Follower(JobServer(head.address), write=written.append, say=said.append)
    assert follower.follow("a") == 3
    assert "".join(written) == "".join(LOG)
    assert said[-1] == "it failed"


def test_a_job_that_is_not_there():
    head = Head([])
    with pytest.raises(UserError, match="no such job"):
        follow.Follower(JobServer(head.address), write=print, say=print).follow("b")
