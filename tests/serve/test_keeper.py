"""The one writer of a served index, without a cluster: what is on disk is what it answers with, whatever goes wrong."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from small_root import build_root, small_retriever
from test_swap import second_pair

from covr.client.filters import Equal
from covr.errors import UserError
from covr.index.current import Current
from covr.storage import Place
from serve.keeper import Keeper
from serve.pair import Pair
from serve.replies import Described, Kept
from serve.settings import Settings


class Refusing(Keeper):
    """One whose other replicas do not take a new pair, while `refuses` says so."""

    refuses = False

    async def _taking(self, pair: Pair) -> int:
        if self.refuses:
            raise UserError("a shard is away", "", "")
        return await super()._taking(pair)


@pytest.fixture
def root(tmp_path) -> Place:
    root = Place(tmp_path)
    build_root(root, small_retriever())
    return root


def given(keeper: Keeper, clip_id: str) -> tuple:
    """What an addition of a clip takes."""
    pair = keeper._pair
    rng = np.random.default_rng(len(clip_id))
    frames = {
        mode: rng.integers(0, 255, (sampling.num_frames, 3, 48, 64), np.uint8)
        for mode, sampling in pair.encoder.sampling.items()
    }
    return {**pair.clip("a"), "clip_id": clip_id}, frames, pair.retriever


def on_disk(root: Place) -> set[str]:
    return set(Pair.load(root).view.clip_ids)


def test_a_change_whose_caller_goes_away_is_made_whole(root, monkeypatch):
    keeper, written, go_on = Keeper(Settings(root=str(root))), threading.Event(), threading.Event()
    add = keeper._changes.add

    def slow(*arguments):
        changed = add(*arguments)
        written.set()
        go_on.wait(10)
        return changed

    async def run() -> None:
        monkeypatch.setattr(keeper._changes, "add", slow)
        asked = asyncio.create_task(keeper.add(*given(keeper, "new")))
        await asyncio.to_thread(written.wait, 10)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        go_on.set()
        described = await keeper.remove("b")  # waits for its turn
        assert isinstance(described, Described)
        assert described.clips == 5

    asyncio.run(run())
    assert set(keeper._pair.view.clip_ids) == on_disk(root)
    assert "new" in keeper._pair


def test_attributes_of_added_clips_are_filtered_by_after_a_restart(root):
    keeper = Keeper(Settings(root=str(root)))
    asyncio.run(keeper.add(*given(keeper, "new")))
    view = Pair.load(root).view
    assert view.describe(["new"])[0]["attributes"] == [("element", "jump")]
    where = Equal(field="attributes.element", equal="jump")
    (found,) = view.search(view.vector("new")[None], 10, [[]], [where])
    assert found.clip_ids[0] == "new"


def test_after_a_refused_swap_or_compaction_changes_go_where_they_are_read(root):
    async def run(keeper: Refusing) -> None:
        first = Current.read(root)
        assert isinstance(await keeper.add(*given(keeper, "one")), Described)
        second_pair(root, keeper._pair.view.snapshot)
        keeper.refuses = True
        assert await keeper.reload() == Kept(reason="a shard is away")
        first.write(root)
        assert isinstance(await keeper.add(*given(keeper, "two")), Described)  # the second change: compacts
        while keeper._compacting is not None:
            await asyncio.sleep(0.01)
        assert Current.read(root) == first
        assert isinstance(await keeper.add(*given(keeper, "three")), Described)
        while keeper._compacting is not None:
            await asyncio.sleep(0.01)
        assert {"one", "two", "three"} <= on_disk(root)
        keeper.refuses = False
        assert isinstance(await keeper.remove("two"), Described)
        while keeper._compacting is not None:
            await asyncio.sleep(0.01)
        assert Current.read(root) != first
        assert keeper._pair.view.changes == 0
        assert on_disk(root) == set(keeper._pair.view.clip_ids)
        assert {"one", "three"} <= on_disk(root)
        assert "two" not in on_disk(root)

    asyncio.run(run(Refusing(Settings(root=str(root), compact_after=2))))
