"""Retriever and index are swapped together, under load, or not at all."""

from __future__ import annotations

import threading
import time

import httpx
import numpy as np
import pytest
import torch
from make_videos import make_video
from ray import serve as ray_serve
from small_root import CLIP_IDS, TEXT, build_root, small_retriever

from covr.cli.main import app as command
from covr.client import Client, RequestRefused
from covr.errors import UserError
from covr.index.current import Current
from covr.index.snapshot import Snapshot
from covr.storage import Place
from serve.app import app
from serve.pair import Pair
from serve.settings import Settings


def second_pair(root: Place, first: Snapshot, *, damaged: bool = False) -> tuple[str, str]:
    """Another retriever and an index of its vectors; its fingerprints."""
    retriever = small_retriever(seed=1)
    retriever.save(root / "retrievers/second")
    with torch.inference_mode():
        vectors = retriever.embed_target(torch.tensor(first.features_NF)).numpy()
    snapshot = Snapshot.build(
        root / "index",
        clips=first.clips,
        vectors_ND=np.roll(vectors, 1, axis=0) if damaged else vectors,
        features_NF=first.features_NF,
        similarity="cosine",
        target_fingerprint=retriever.target_fingerprint,
        retriever_fingerprint=retriever.fingerprint,
        dataset_fingerprint="of these tests",
        decoder=first.manifest.decoder,
    )
    Current(snapshot=snapshot.fingerprint, retriever="retrievers/second").write(root)
    return retriever.fingerprint, snapshot.fingerprint


class Load:
    """Queries without pause from four threads, until the end of the `with` block."""

    def __init__(self, url: str) -> None:
        self.url, self.answered, self.failed = url, [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def _run(self) -> None:
        with httpx.Client(timeout=60) as http:
            while not self._stop.is_set():
                answer = http.post(f"{self.url}/v1/search", json={"clip_id": "a", "text": TEXT})
                if answer.status_code == 200:
                    self.answered.append((answer.json()["retriever"], answer.json()["index"]))
                else:
                    self.failed.append(answer.text)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_swap_under_load_loses_no_request_and_a_bad_pair_is_not_swapped_in(url, tmp_path, monkeypatch):
    root = Place(tmp_path)
    snapshot = build_root(root, retriever := small_retriever())
    first = (retriever.fingerprint, snapshot.fingerprint)
    ray_serve.run(app(Settings(root=str(root), compact_after=3)), name="swapped", route_prefix="/swapped")
    try:
        address = url.replace("/retrieval", "/swapped")
        with Client(address) as client, Load(address) as load:
            second = second_pair(root, snapshot)
            swapped = client.reload()
            assert (swapped.retriever, swapped.index) == second
            # A clip that is added is found at once, and is still there under another retriever.
            new = make_video(tmp_path / "new.mp4", seed=77)
            start = time.perf_counter()
            added = client.add_clip("néw", new, label="new", attributes={"turns": "2"})
            where = {"field": "attributes.turns", "range": [2, 2]}
            assert [r.clip_id for r in client.search(text=TEXT, filter=where).results] == ["néw"]
            assert time.perf_counter() - start < 20  # two seconds on a machine of one's own
            assert client.fetch(added.media) == new.read_bytes()
            assert client.search(clip_id="néw").results[0].clip_id != "néw"
            assert [r.clip_id for r in client.search(video=new, filter=where).results] == []
            client.remove_clip("b")
            with pytest.raises(RequestRefused, match="No clip of this id"):
                client.clip("b")
            second = (second[0], client.ready().index)
            Current(snapshot=first[1], retriever="retrievers/composed").write(root)
            carried = client.reload()
            assert (carried.retriever, carried.clips) == (first[0], 5)
            assert client.clip("néw").attributes == {"turns": "2"}
            with pytest.raises(RequestRefused, match="No clip of this id"):
                client.clip("b")
            encoded = Pair.load(root).view.vector("néw")
            assert np.linalg.norm(encoded) == pytest.approx(1, abs=1e-5)
            # The third change is written as a new snapshot, with all of them.
            monkeypatch.setattr("sys.argv", ["covr", "clips", "add", "again", str(new), "--url", address])
            with pytest.raises(SystemExit) as ended:
                command()
            assert not ended.value.code
            deadline = time.monotonic() + 30
            while client.ready().index != Current.read(root).snapshot and time.monotonic() < deadline:
                time.sleep(0.1)
            compacted = Snapshot.load(
                Current.read(root).snapshot_place(root), target_fingerprint=snapshot.manifest.target_fingerprint
            )
            assert sorted(compacted.clip_ids) == sorted({*CLIP_IDS, "néw", "again"} - {"b"})
            assert client.clip("again").label is None
            served_now = (first[0], client.ready().index)
            assert served_now[1] == compacted.fingerprint
            # A retriever beside another's index.
            Current(snapshot=first[1], retriever="retrievers/second").write(root)
            with pytest.raises(RequestRefused, match=r"old pair goes on.*another retriever") as refused:
                client.reload()
            assert refused.value.status == 409
            second_pair(root, snapshot, damaged=True)
            with pytest.raises(RequestRefused, match=r"old pair goes on.*canary"):
                client.reload()
            (root / "index/current.json").write_bytes(b"{")
            with pytest.raises(RequestRefused, match=r"old pair goes on.*damaged"):
                client.reload()
            ready = client.ready()
            assert (ready.retriever, ready.index) == served_now
        assert load.failed == []
        assert {first, second, served_now} <= set(load.answered)
        assert {retriever for retriever, _ in load.answered} == {first[0], second[0]}
        assert load.answered[-1] == served_now
    finally:
        ray_serve.delete("swapped")


def test_a_canary_finds_vectors_of_another_encoder(served, tmp_path):
    root = Place(tmp_path)
    second_pair(root, served.snapshot)
    Pair.load(root).check()
    second_pair(root, served.snapshot, damaged=True)
    with pytest.raises(UserError, match="canary"):
        Pair.load(root).check()
