"""Encoders, shards and writer apart answer as one replica does, also while clips come and go and pairs are swapped."""

from __future__ import annotations

import time

import numpy as np
import pytest
from make_videos import make_video
from ray import serve as ray_serve
from small_root import CLIP_IDS, TEXT, build_root, small_retriever
from test_swap import Load, second_pair

from covr.client import Client, RequestRefused
from covr.index.current import Current
from covr.storage import Place
from serve.app import app
from serve.pair import Pair
from serve.query import Query
from serve.settings import Settings
from serve.shard import shard_of


def same(one, other) -> None:
    """The same answers, but for the hardware's last digit."""
    assert [result.clip_id for result in one.results] == [result.clip_id for result in other.results]
    np.testing.assert_allclose([r.score for r in one.results], [r.score for r in other.results], atol=1e-5)
    assert (one.index, one.retriever, one.mode, one.next) == (other.index, other.retriever, other.mode, other.next)
    assert one.text_share == pytest.approx(other.text_share)


def test_a_clips_shard_is_the_same_for_ever():
    assert [shard_of(clip_id, 4) for clip_id in CLIP_IDS] == [2, 2, 3, 1, 2]
    counts = np.bincount([shard_of(f"clip {number}", 8) for number in range(8000)])
    assert counts.min() > 850


def test_separate_deployments_answer_as_one_replica_does(url, served, tmp_path):
    """Beside it a second retriever, reached by its name."""
    root = Place(tmp_path)
    snapshot = build_root(root, retriever := small_retriever())
    first = (retriever.fingerprint, snapshot.fingerprint)
    asking_again = build_root(second := Place(tmp_path / "second"), small_retriever(0, "+model.expand=2"))
    settings = Settings(
        root=str(root), retrievers={"other": str(second)}, topology="separate", shards=2, compact_after=4
    )
    ray_serve.run(app(settings), name="apart", route_prefix="/apart")
    try:
        address = url.replace("/retrieval", "/apart")
        with Client(url) as whole, Client(address) as apart, Load(address) as load:
            assert apart.ready().others["other"].index == asking_again.fingerprint
            for query in (
                {"clip_id": "a", "text": TEXT},
                {"clip_id": "segment", "text": TEXT, "k": 2},
                {"text": TEXT},
                {"clip_id": "b"},
                {"video": served.media("a"), "text": TEXT},
                {"text": TEXT, "filter": {"field": "label", "in": ["label 1", "label 3"]}, "exclude": ["b"]},
            ):
                same(apart.search(**query), whole.search(**query))
            page = apart.search(text=TEXT, k=2)
            rest = apart.search(text=TEXT, k=3, cursor=page.next)
            assert [(r.rank, r.clip_id) for r in page.results + rest.results] == [
                (r.rank, r.clip_id) for r in whole.search(text=TEXT, k=5).results
            ]
            for clip_id in CLIP_IDS:
                assert apart.clip(clip_id).label == whole.clip(clip_id).label
            with pytest.raises(RequestRefused, match="No clip of this id"):
                apart.search(clip_id="nope", text=TEXT)
            named = apart.search(clip_id="a", text=TEXT, retriever="other")
            assert named.results[0].media.endswith("?retriever=other")
            shown = asking_again.describe([named.results[0].clip_id])[0]
            assert apart.fetch(named.results[0].media) == second.resolve(shown["uri"]).read_bytes()
            (expected,) = Pair.load(second).answer([Query(text=TEXT, k=5, clip_id="a")])  # of one replica
            assert [r.clip_id for r in named.results] == [clip["clip_id"] for clip in expected.clips]
            np.testing.assert_allclose([r.score for r in named.results], expected.scores, atol=1e-5)
            with pytest.raises(RequestRefused, match="must be one of default, other"):
                apart.search(text=TEXT, retriever="nope")
            # A clip that is added, replaced and removed is so for every query after that, as a query too.
            new = [make_video(tmp_path / f"{seed}.mp4", seed=seed) for seed in (77, 78)]
            apart.add_clip("new", new[0])
            by_first = apart.search(clip_id="new", text=TEXT)
            same_as_sent = apart.search(video=new[0], text=TEXT)
            assert [r.clip_id for r in by_first.results] == [r.clip_id for r in same_as_sent.results]
            apart.add_clip("a", new[1])
            by_id, by_file = apart.search(clip_id="a", text=TEXT), apart.search(video=new[1], text=TEXT)
            np.testing.assert_allclose(
                [r.score for r in by_id.results], [r.score for r in by_file.results if r.clip_id != "a"], atol=1e-4
            )
            apart.remove_clip("b")
            for ask in (lambda: apart.clip("b"), lambda: apart.search(clip_id="b", text=TEXT)):
                with pytest.raises(RequestRefused, match="No clip of this id"):
                    ask()
            assert "b" not in [r.clip_id for r in apart.search(text=TEXT).results]
            # The fourth change has all of them written as a new snapshot, which every replica then holds.
            apart.add_clip("new", new[1])
            deadline = time.monotonic() + 60
            while apart.ready().index != Current.read(root).snapshot and time.monotonic() < deadline:
                time.sleep(0.1)
            answer = apart.search(text=TEXT)
            assert answer.index == Current.read(root).snapshot
            assert sorted(r.clip_id for r in answer.results) == sorted({*CLIP_IDS, "new"} - {"b"})
            # Another retriever, with the changes carried over; then one that does not fit, which is not taken.
            second = second_pair(root, snapshot)
            swapped = apart.reload()
            assert (swapped.retriever, swapped.clips) == (second[0], 5)
            assert apart.search(text=TEXT).retriever == second[0]
            Current(snapshot=first[1], retriever="retrievers/second").write(root)
            with pytest.raises(RequestRefused, match=r"old pair goes on.*another retriever"):
                apart.reload()
            assert apart.search(clip_id="a", text=TEXT).retriever == second[0]
        assert load.failed == []
        assert {retriever for retriever, _ in load.answered} == {first[0], second[0]}
    finally:
        ray_serve.delete("apart")
