"""Batches without waiting: a pass takes all that came while the one before was computed.

Ray Serve's own `@batch` closes a batch when its time is up, also while another is computed, so that without a waiting
time queries queue in batches of one.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

_Q = TypeVar("_Q")
_A = TypeVar("_A")


class Batches(Generic[_Q, _A]):
    """Questions that wait for one worker.

    Args:
        work: answers several, in their order; never called again before it has answered.
        size: of a batch, at most.
        wait_s: how long the first of a batch that is not full waits for others, once the worker is free.
    """

    def __init__(self, work: Callable[[Sequence[_Q]], Awaitable[Sequence[_A]]], size: int, wait_s: float = 0.0) -> None:
        self._work, self._size, self._wait_s = work, size, wait_s
        self._waiting: deque[tuple[_Q, asyncio.Future[_A]]] = deque()
        self._full = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def answer(self, question: _Q) -> _A:
        """One of them, together with others; what `work` raises, all of its batch raise."""
        future: asyncio.Future[_A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if len(self._waiting) >= self._size:
            self._full.set()
        if self._worker is None:  # in a context of its own: it outlives the request that it begins with
            self._worker = asyncio.create_task(self._run(), context=contextvars.Context())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            if self._wait_s and len(self._waiting) < self._size:
                await self._for_others()
            self._full.clear()
            batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
            asked = [(question, future) for question, future in batch if not future.done()]  # their callers are there
            if not asked:
                continue
            try:
                answers = await self._work([question for question, _ in asked])
            except Exception as error:
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(asked, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
        self._worker = None

    async def _for_others(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._full.wait()
        except TimeoutError:
            pass
