"""A live index against a dictionary: restarts, torn writes, kills; nothing missing, nothing twice, exact scores."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import TypeAdapter

from covr import tables
from covr.client.filters import Filter
from covr.errors import UserError
from covr.index.live import LOG, Live, view_of
from covr.index.snapshot import Snapshot
from covr.index.view import Entry, View
from covr.storage import Place

DIM = 4
NAMES = [f"clip/{number}é" for number in range(8)]
JUMPS = TypeAdapter(Filter).validate_python({"field": "label", "equal": "jump"})


def vector(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return values / np.linalg.norm(values)


def entry(clip_id: str, seed: int) -> Entry:
    row = dict.fromkeys(tables.SCHEMAS["clips"].names)
    clip = {**row, "clip_id": clip_id, "label": "jump" if seed % 2 else "turn", "sha256": f"{seed % 3}"}
    return Entry(clip=clip, vector_D=vector(seed), feature=np.full((2, 3), seed, np.float32))


def first_snapshot(folder: Place, content: dict[str, int]) -> Snapshot:
    entries = [entry(clip_id, seed) for clip_id, seed in sorted(content.items())]
    return Snapshot.build(
        folder,
        clips=tables.from_rows("clips", [each.clip for each in entries]),
        vectors_ND=np.stack([each.vector_D for each in entries]),
        features_NF=np.stack([each.feature for each in entries]),
        similarity="cosine",
        target_fingerprint="t" * 32,
        retriever_fingerprint="r" * 32,
        dataset_fingerprint="d" * 32,
        decoder="decord-0.6.0",
    )


def agree(view: View, content: dict[str, int]) -> None:
    """The view holds exactly this content, and answers as brute force does."""
    assert sorted(view.clip_ids) == sorted(content)
    assert len(view) == len(content)
    assert all((name in view) == (name in content) for name in NAMES)
    query = vector(12345)
    without = NAMES[0]
    for k, exclude, where in ((3, [], None), (20, [without], None), (20, [], JUMPS)):
        (found,) = view.search(query[None], k, [exclude], [where])
        allowed = {name: seed for name, seed in content.items() if name not in exclude and (where is None or seed % 2)}
        scores = sorted(((-float(vector(seed) @ query), name) for name, seed in allowed.items()))[:k]
        np.testing.assert_allclose(found.scores, [-score for score, _ in scores], atol=1e-6)
        assert sorted(found.clip_ids) == sorted(name for _, name in scores)
    for name, seed in content.items():
        assert view.describe([name])[0]["label"] == ("jump" if seed % 2 else "turn")
        np.testing.assert_allclose(view.vector(name), vector(seed), atol=1e-6)
        np.testing.assert_array_equal(view.feature(name), np.full((2, 3), seed))
        assert name in view.copies(f"{seed % 3}")


class LiveIndex(RuleBasedStateMachine):
    folder: Path

    @initialize(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4))
    def begin(self, seeds):
        LiveIndex.count += 1
        self.place = Place(self.folder / str(LiveIndex.count))
        self.content = dict(zip(NAMES, seeds, strict=False))
        self.snapshot = first_snapshot(self.place, self.content)
        self.live = Live(self.place, self.snapshot)

    @rule(clip_id=st.sampled_from(NAMES), seed=st.integers(0, 99))
    def put(self, clip_id, seed):
        self.live.put(entry(clip_id, seed))
        self.content[clip_id] = seed

    @rule(clip_id=st.sampled_from(NAMES))
    def remove(self, clip_id):
        if clip_id in self.content:
            self.live.remove(clip_id)
            del self.content[clip_id]
        else:
            with pytest.raises(KeyError):
                self.live.remove(clip_id)

    @rule(torn=st.binary(max_size=15))
    def stopped_in_the_middle_of_a_write(self, torn):
        self.live.close()
        with ((self.place / self.snapshot.fingerprint).local() / LOG).open("ab") as file:
            file.write(torn)
        self.live = Live(self.place, self.snapshot)

    @rule()
    def compact(self):
        if self.content:
            snapshot = self.live.compact()
            self.live.close()
            self.snapshot = Snapshot.load(self.place / snapshot.fingerprint, target_fingerprint="t" * 32)
            self.live = Live(self.place, self.snapshot)

    @invariant()
    def it_is_the_dictionary(self):
        if hasattr(self, "live"):
            agree(self.live.view, self.content)
            agree(view_of(self.place, self.snapshot), self.content)

    def teardown(self):
        if hasattr(self, "live"):
            self.live.close()


LiveIndex.count = 0


def test_it_is_a_dictionary_whatever_happens(tmp_path):
    LiveIndex.folder = tmp_path
    machine = LiveIndex.TestCase
    machine.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
    machine().runTest()


@pytest.fixture
def changed(tmp_path):
    """A snapshot with three changes, closed."""
    place = Place(tmp_path)
    snapshot = first_snapshot(place, {"a": 1, "b": 2})
    live = Live(place, snapshot)
    for number in range(3):
        live.put(entry(f"new {number}", number))
    live.close()
    return place, snapshot, (place / snapshot.fingerprint).local() / LOG


def test_one_writer_and_many_readers(changed):
    place, snapshot, _ = changed
    live = Live(place, snapshot)
    with pytest.raises(UserError, match="another writer"):
        Live(place, snapshot)
    assert len(view_of(place, snapshot)) == 5
    live.close()
    Live(place, snapshot).close()


@pytest.mark.parametrize("at", [0, 5, 13, 40])
def test_damage_before_the_end_is_refused(changed, at):
    place, snapshot, path = changed
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        view_of(place, snapshot)


def test_a_cut_at_any_byte_of_the_last_record_leaves_what_was_before(changed):
    place, snapshot, path = changed
    data = path.read_bytes()
    length = len(data) // 3
    for cut in range(1, length, 7):
        path.write_bytes(data[: len(data) - cut])
        assert len(view_of(place, snapshot)) == 4
    path.write_bytes(data + bytes(100))
    assert len(view_of(place, snapshot)) == 5


def test_a_full_disk_is_an_error_and_changes_nothing(changed, monkeypatch):
    place, snapshot, path = changed
    live = Live(place, snapshot)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            live.put(entry("unwritten", 9))
    assert path.read_bytes() == before
    assert "unwritten" not in live.view
    live.put(entry("written", 9))
    live.close()
    assert "written" in view_of(place, snapshot)


CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_live import entry
from covr.index.live import Live
from covr.index.snapshot import Snapshot
from covr.storage import Place
place = Place(sys.argv[2])
live = Live(place, Snapshot.load(place / sys.argv[3], target_fingerprint="t" * 32))
for number in range(int(sys.argv[4]), 10**9):
    name = f"k{number}"
    print(json.dumps(["begin", name, number]), flush=True)
    live.put(entry(name, number))
    print(json.dumps(["put", name, number]), flush=True)
    if number % 3 == 0:
        print(json.dumps(["begin", name, None]), flush=True)
        live.remove(name)
        print(json.dumps(["removed", name, None]), flush=True)
"""


def test_killed_at_any_moment_no_acknowledged_change_is_lost(tmp_path):
    place, rng = Place(tmp_path), random.Random(0)
    snapshot = first_snapshot(place, {"a": 1})
    known: dict[str, int | None] = {"a": 1}
    for start in range(0, 4_000_000, 1_000_000):
        command = [
            sys.executable,
            "-c",
            CHILD,
            str(Path(__file__).parent),
            str(tmp_path),
            snapshot.fingerprint,
            str(start),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline()]  # it writes
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        open_: dict[str, int | None] = {}
        for what, name, seed in events:
            if what == "begin":
                open_ = {name: seed}
            else:
                known[name], open_ = seed, {}
        view = view_of(place, snapshot)
        held = set(view.clip_ids)
        sure = {name for name, seed in known.items() if seed is not None} - open_.keys()
        assert sure <= held <= sure | open_.keys() | {name for name, seed in known.items() if seed and name in open_}
        assert len(view.clip_ids) == len(held)
        for name in open_:  # either way is right: it was never acknowledged
            known[name] = next((number for number in [int(name[1:])] if name in held), None)
        agree_on = {name: seed for name, seed in known.items() if seed is not None}
        assert held == set(agree_on)
        for name, seed in agree_on.items():
            np.testing.assert_allclose(view.vector(name), vector(seed), atol=1e-6)
    assert len(known) > 8
