"""What is asked while a batch is worked on is the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from serve.batches import Batches


class Worker:
    """Doubles numbers, slowly; knows its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.at_once = 0

    async def work(self, numbers: Sequence[int]) -> list[int]:
        self.at_once += 1
        assert self.at_once == 1
        self.batches.append(list(numbers))
        await asyncio.sleep(0.02)
        self.at_once -= 1
        if 13 in numbers:
            raise ValueError("thirteen")
        return [2 * number for number in numbers]


def test_a_batch_is_what_came_while_the_one_before_was_computed():
    async def run() -> None:
        worker = Worker()
        batches = Batches(worker.work, 4)
        assert await batches.answer(0) == 0
        first = asyncio.create_task(batches.answer(1))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(batches.answer(number)) for number in range(2, 9)]
        assert await asyncio.gather(first, *rest) == [2 * number for number in range(1, 9)]
        assert worker.batches == [[0], [1], [2, 3, 4, 5], [6, 7, 8]]

    asyncio.run(run())


def test_the_first_of_a_batch_waits_for_others_where_it_is_told_to():
    async def run() -> None:
        worker = Worker()
        batches = Batches(worker.work, 3, wait_s=0.2)
        asked = [asyncio.create_task(batches.answer(number)) for number in range(2)]
        await asyncio.sleep(0.05)
        assert worker.batches == []
        asked.append(asyncio.create_task(batches.answer(2)))  # full
        assert await asyncio.wait_for(asyncio.gather(*asked), 0.14) == [0, 2, 4]
        assert await batches.answer(3) == 6
        assert worker.batches == [[0, 1, 2], [3]]

    asyncio.run(run())


def test_who_has_gone_is_not_answered_and_an_error_reaches_its_batch_only():
    async def run() -> None:
        worker = Worker()
        batches = Batches(worker.work, 4)
        first = asyncio.create_task(batches.answer(1))
        await asyncio.sleep(0.01)
        gone, bad, beside = (asyncio.create_task(batches.answer(number)) for number in (2, 13, 3))
        await asyncio.sleep(0)
        gone.cancel()
        assert await first == 2
        for each in (bad, beside):
            with pytest.raises(ValueError, match="thirteen"):
                await each
        assert await batches.answer(4) == 8
        assert worker.batches == [[1], [13, 3], [4]]

    asyncio.run(run())
