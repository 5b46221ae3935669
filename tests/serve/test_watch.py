"""An endpoint that watches the pointer takes what it names, and says what it did not take."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import httpx
import pytest
from ray import serve as ray_serve
from small_root import build_root, small_retriever
from test_swap import Load, second_pair

from covr.client import Client
from covr.index.current import Current
from covr.storage import Place
from serve.app import app
from serve.keeper import Keeper
from serve.replies import Described, Kept
from serve.settings import Settings
from serve.watch import watch


def wait(until: Callable[[], bool], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("apart", [{}, {"topology": "separate", "shards": 2}], ids=["colocated", "separate"])
def test_a_watching_endpoint_swaps_by_itself_and_says_what_it_refused(url, tmp_path, apart):
    root = Place(tmp_path)
    snapshot = build_root(root, retriever := small_retriever())
    first = Current.read(root)
    ray_serve.run(app(Settings(root=str(root), watch_s=0.2, **apart)), name="watching", route_prefix="/watching")
    try:
        address = url.replace("/retrieval", "/watching")

        def refused() -> float:
            return float(
                re.findall(r'covr_pair_refused{retriever="default"} (\S+)', httpx.get(f"{address}/metrics").text)[0]
            )

        with Client(address) as client, Load(address) as load:
            assert client.ready().retriever == retriever.fingerprint
            second = second_pair(root, snapshot)
            wait(lambda: (client.ready().retriever, client.ready().index) == second)
            assert (client.ready().refused, refused()) == (None, 0)
            second_pair(root, snapshot, damaged=True)
            wait(lambda: client.ready().refused is not None)
            answers = len(load.answered)
            wait(lambda: len(load.answered) > answers + 20)
            ready = client.ready()
            assert "canary" in ready.refused
            assert (ready.retriever, ready.index) == second
            assert refused() == 1
            first.write(root)
            wait(lambda: client.ready().retriever == retriever.fingerprint)
            assert (client.ready().refused, refused()) == (None, 0)
            (root / "index/current.json").write_bytes(b"{")
            wait(lambda: "damaged" in (client.ready().refused or ""))
            first.write(root)
            wait(lambda: client.ready().refused is None)
        assert load.failed == []
        assert {retriever for retriever, _ in load.answered} == {retriever.fingerprint, second[0]}
    finally:
        ray_serve.delete("watching")


class Counting(Keeper):
    """One that knows how often it was asked."""

    looks = tries = 0

    async def other(self):
        self.looks += 1
        return await super().other()

    async def reload(self) -> Described | Kept:
        self.tries += 1
        return await super().reload()


def test_a_pair_that_was_refused_is_tried_again_ever_more_rarely_and_another_at_once(tmp_path):
    root = Place(tmp_path)
    snapshot = build_root(root, small_retriever())

    async def until(reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not reached():
                await asyncio.sleep(0.01)

    async def run() -> None:
        keeper = Counting(Settings(root=str(root)))
        watching = asyncio.create_task(watch(keeper, 0.001))
        await until(lambda: keeper.looks > 5)
        assert keeper.tries == 0
        second_pair(root, snapshot, damaged=True)
        await until(lambda: keeper.tries > 0)
        first_try, looks = keeper.tries, keeper.looks
        await until(lambda: keeper.looks > looks + 40)
        assert 2 <= keeper.tries - first_try <= 5  # after 2, 4, 8, 16 and 32 looks more
        retriever, index = second_pair(root, snapshot)
        tries = keeper.tries
        await until(lambda: keeper._pair.index == index)
        assert (keeper._pair.retriever, keeper.tries) == (retriever, tries + 1)
        watching.cancel()

    asyncio.run(run())


def test_a_pair_that_is_there_late_is_taken(tmp_path):
    root = Place(tmp_path)

    async def run() -> None:
        keeper = Keeper(Settings(root=str(root)))
        watching = asyncio.create_task(watch(keeper, 0.01))
        assert "no index" in (await keeper.describe()).reason
        build_root(root, small_retriever())
        async with asyncio.timeout(60):
            while not isinstance(await keeper.describe(), Described):
                await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(run())
