"""A change that is sent again under its key is made once."""

from __future__ import annotations

import asyncio

import pytest

from serve.idempotency import Replays
from serve.problems import Problem


def test_a_request_is_done_once_by_key_also_at_the_same_time():
    async def run() -> None:
        replays, done = Replays(), []

        async def work() -> int:
            await asyncio.sleep(0.01)
            done.append(1)
            return len(done)

        assert await asyncio.gather(*(replays.once("me", "k", "body", work) for _ in range(5))) == [1] * 5
        assert await replays.once("other", "k", "body", work) == 2  # a key is its caller's own
        assert await replays.once("me", None, "body", work) == 3
        with pytest.raises(Problem) as refused:
            await replays.once("me", "k", "another body", work)
        assert refused.value.status == 409
        for bad in ("", "x" * 256, "a\nb"):
            with pytest.raises(Problem) as refused:
                await replays.once("me", bad, "body", work)
            assert refused.value.status == 400

    asyncio.run(run())


def test_what_failed_or_was_cancelled_is_done_again_and_the_oldest_are_forgotten():
    async def run() -> None:
        replays, asked = Replays(kept=2), []

        async def work() -> int:
            asked.append(1)
            if len(asked) == 1:
                raise Problem(507, "storage-full", "Not changed.")
            await asyncio.sleep(0.05 if len(asked) == 2 else 0)
            return len(asked)

        with pytest.raises(Problem):
            await replays.once("me", "k", "body", work)
        gone = asyncio.create_task(replays.once("me", "k", "body", work))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(replays.once("me", "k", "body", work))
        await asyncio.sleep(0.01)
        gone.cancel()
        assert await waiting == 3
        for key in ("l", "m"):
            await replays.once("me", key, "body", work)
        assert await replays.once("me", "k", "body", work) == 6
        assert await replays.once("me", "m", "body", work) == 5

    asyncio.run(run())
