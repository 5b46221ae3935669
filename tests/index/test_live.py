"""A live index against a dictionary: restarts, torn writes, kills; nothing missing, nothing twice, exact scores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from entries import TARGET, entry, first_snapshot, vector
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import TypeAdapter

from covr.client.filters import Filter
from covr.errors import UserError
from covr.index.approximate import Kind
from covr.index.current import Current
from covr.index.live import LOG, Live, view_of
from covr.index.snapshot import Snapshot
from covr.index.view import View
from covr.storage import Place

NAMES = [f"clip/{number}é" for number in range(8)]
JUMPS = TypeAdapter(Filter).validate_python({"field": "label", "equal": "jump"})


def agree(view: View, content: dict[str, int]) -> None:
    """The view holds exactly this content, and answers as brute force does."""
    assert sorted(view.clip_ids) == sorted(content)
    assert len(view) == len(content)
    assert all((name in view) == (name in content) for name in NAMES)
    query = vector(12345)
    without = NAMES[0]
    for k, exclude, where in ((3, [], None), (20, [without], None), (20, [], JUMPS)):
        (found,) = view.search(query[None], k, [exclude], [where])
        right = {
            name: float(vector(seed) @ query)
            for name, seed in content.items()
            if name not in exclude and (where is None or seed % 2)
        }
        np.testing.assert_allclose(found.scores, sorted(right.values(), reverse=True)[:k], atol=1e-6)
        np.testing.assert_allclose(found.scores, [right[name] for name in found.clip_ids], atol=1e-6)
        assert len(set(found.clip_ids)) == len(found.clip_ids)
    for name, seed in content.items():
        assert view.describe([name])[0]["label"] == ("jump" if seed % 2 else "turn")
        np.testing.assert_allclose(view.vector(name), vector(seed), atol=1e-6)
        np.testing.assert_array_equal(view.feature(name), np.full((2, 3), seed))
        assert name in view.copies(f"{seed % 3}")


class Writer:
    """The process that writes; see `writer.py`."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("writer.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._pid: int | None = None

    def open(self, root: Place) -> None:
        self.send("open", str(root))
        self._pid = self.reply()["writes"]

    def send(self, *command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode())

    def reply(self) -> dict:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def do(self, *command: object) -> None:
        self.send(*command)
        assert self.reply() == {"done": True}

    def kill(self) -> bool:
        """Whether what was asked for last was acknowledged before it died."""
        assert self._pid is not None
        os.kill(self._pid, signal.SIGKILL)
        replies = [self.reply()]
        while "ended" not in replies[-1]:
            replies.append(self.reply())
        self._pid = None
        return len(replies) > 1

    def close(self) -> None:
        if self._pid is not None:
            self.kill()
        self._process.kill()
        self._process.communicate()


class LiveIndex(RuleBasedStateMachine):
    """Changes by a process that is killed between them and in the middle of them, read by another."""

    folder: Path
    writer: Writer
    count = 0

    @initialize(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4), kind=st.sampled_from(get_args(Kind)))
    def begin(self, seeds, kind):
        LiveIndex.count += 1
        self.root, self.kind = Place(self.folder / str(LiveIndex.count)), kind
        self.content = dict(zip(NAMES, seeds, strict=False))
        snapshot = first_snapshot(self.root / "index", self.content, kind)
        Current(snapshot=snapshot.fingerprint, retriever="r").write(self.root)
        self.writer.open(self.root)

    def view(self) -> View:
        snapshot = Snapshot.load(Current.read(self.root).snapshot_place(self.root), target_fingerprint=TARGET)
        assert snapshot.manifest.kind == self.kind
        return view_of(self.root / "index", snapshot)

    def after(self, command: tuple) -> dict[str, int]:
        """The content once a command was obeyed."""
        match command:
            case ("put", clip_id, seed):
                return {**self.content, clip_id: seed}
            case ("remove", clip_id):
                return {name: seed for name, seed in self.content.items() if name != clip_id}
        return self.content

    commands = st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.integers(0, 99)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        st.just(("compact",)),
    )

    def possible(self, command: tuple) -> bool:
        return command[1] in self.content if command[0] == "remove" else bool(self.content or command[0] == "put")

    @rule(command=commands)
    def obeyed(self, command):
        if self.possible(command):
            self.writer.do(*command)
            self.content = self.after(command)

    @rule(command=commands, after_ms=st.integers(0, 30))
    def killed_meanwhile(self, command, after_ms):
        if not self.possible(command):
            return
        self.writer.send(*command)
        time.sleep(after_ms / 1000)
        acknowledged = self.writer.kill()
        after = self.after(command)
        view = self.view()
        held = {name: int(view.feature(name)[0, 0]) for name in view.clip_ids}
        assert held == after or (held == self.content and not acknowledged)
        self.content = held
        self.writer.open(self.root)

    @rule(torn=st.binary(max_size=15))
    def killed_in_the_middle_of_a_write(self, torn):
        self.writer.kill()
        with (Current.read(self.root).snapshot_place(self.root).local() / LOG).open("ab") as file:
            file.write(torn)
        self.writer.open(self.root)

    @rule()
    def there_is_one_writer(self):
        with pytest.raises(UserError, match="another writer"):
            Live(self.root / "index", self.view().snapshot)

    @invariant()
    def it_is_the_dictionary(self):
        if hasattr(self, "content"):
            agree(self.view(), self.content)

    def teardown(self):
        if hasattr(self, "content"):
            self.writer.kill()


@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=[pytest.mark.drill, pytest.mark.timeout(1200)])])
def test_it_is_a_dictionary_whatever_happens(tmp_path, examples):
    LiveIndex.folder, LiveIndex.writer = tmp_path, Writer()
    machine = LiveIndex.TestCase
    machine.settings = settings(max_examples=examples, stateful_step_count=20, deadline=None)
    try:
        machine().runTest()
    finally:
        LiveIndex.writer.close()


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
