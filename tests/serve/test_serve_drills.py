"""What is to happen to an endpoint once, happens to it here under constant load, counted: `make drills-serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from constant_load import Load, calm
from make_videos import make_video
from ray import serve as ray_serve
from small_root import TEXT, build_root, small_retriever
from test_swap import second_pair

from covr.client import Client, RequestRefused
from covr.errors import UserError
from covr.index.current import Current
from covr.index.snapshot import Snapshot
from covr.storage import Place
from serve.app import app
from serve.settings import Settings

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

NAME = "drilled"
TIMEOUT_S = 20.0  # of a query to an encoder that stalls
ENOUGH = 1000  # queries in which one lost would be 0.1 %


@contextmanager
def served(root: Place, url: str, **settings: object) -> Iterator[str]:
    """The endpoint, and that it is ready."""
    given = {"root": str(root), **settings}
    ray_serve.run(app(Settings.model_validate(given)), name=NAME, route_prefix=f"/{NAME}")
    try:
        yield url.replace("/retrieval", f"/{NAME}")
    finally:
        ray_serve.delete(NAME)


@pytest.fixture
def root(tmp_path) -> Place:
    place = Place(tmp_path / "root")
    build_root(place, small_retriever())
    return place


def processes(*words: str) -> list[psutil.Process]:
    """Below this one, those whose command line has all the words."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if all(word in line for word in words):
            found.append(process)
    return found


def replica(deployment: str) -> psutil.Process:
    (found,) = processes("ServeReplica", NAME, deployment)
    return found


def wait_for(load: Load, count: int, limit_s: float = 240) -> None:
    """Until so many queries more were answered."""
    before, deadline = load.statuses[200], time.monotonic() + limit_s
    while load.statuses[200] < before + count:
        assert time.monotonic() < deadline, f"{load.statuses} within {limit_s:g} s"
        time.sleep(0.1)


def told(name: str, load: Load, note: str = "") -> None:
    """A line of the table."""
    sent = sum(load.statuses.values())
    errors = ", ".join(f"{count} x {status}" for status, count in sorted(load.statuses.items()) if status != 200)
    print(f"\n| {name} | {sent} | {errors or 0} | {len(load.wrong)} | {load.longest_s:.1f} | {note} |")


def test_a_replica_is_killed(url, root):
    with served(root, url) as address, Load(address, calm(address)) as load:
        wait_for(load, ENOUGH // 4)
        killed = replica("Retrieval")
        killed.send_signal(signal.SIGKILL)
        start = time.monotonic()
        wait_for(load, 1)
        away_s = time.monotonic() - start
        wait_for(load, ENOUGH)
        assert replica("Retrieval").pid != killed.pid
    told("encoder and index killed", load, f"answers again after {away_s:.1f} s; what was asked meanwhile waited")
    assert load.wrong == []
    assert load.errors < 0.001 * sum(load.statuses.values())


def test_the_decoder_is_killed(url, root, tmp_path):
    """While clips are sent, three times; each is decoded again."""
    video = make_video(tmp_path / "sent.mp4", seed=5, num_frames=200)
    with served(root, url) as address, Load(address, calm(address)) as load, Client(address) as client:
        expected = [result.clip_id for result in client.search(video=video, text=TEXT).results]
        failed, answers, stop = [], [], threading.Event()

        def send() -> None:
            while not stop.is_set():
                try:
                    answers.append([result.clip_id for result in client.search(video=video, text=TEXT).results])
                except UserError as refusal:
                    failed.append(str(refusal))

        sender = threading.Thread(target=send)
        sender.start()
        for _ in range(3):
            time.sleep(2)
            gateway = replica("Gateway")
            for process in gateway.children(recursive=True):
                if "covr.clips.child" in " ".join(process.cmdline()):
                    process.kill()
            done = len(answers)
            while len(answers) < done + 2:
                time.sleep(0.1)
        stop.set()
        sender.join()
    told("decoder killed, three times", load, f"{len(answers)} clips sent meanwhile, {len(failed)} refused")
    assert failed == []
    assert all(answer == expected for answer in answers)
    assert (load.wrong, load.errors) == ([], 0)


def test_the_encoder_stalls_for_thirty_seconds(url, root):
    with served(root, url, timeout_s=TIMEOUT_S) as address, Load(address, calm(address)) as load:
        wait_for(load, 100)
        stalled = replica("Retrieval")
        stalled.suspend()
        try:
            time.sleep(30)
        finally:
            stalled.resume()
        start = time.monotonic()
        wait_for(load, ENOUGH // 4)
        again_s = time.monotonic() - start
    told(
        "encoder stalled for 30 s",
        load,
        f"504 at the deadline of {TIMEOUT_S:g} s; {ENOUGH // 4} answers in {again_s:.0f} s after",
    )
    assert load.wrong == []
    assert set(load.statuses) <= {200, 503, 504}
    assert load.longest_s < TIMEOUT_S + 5


def test_pairs_are_swapped(url, root):
    first = Current.read(root)
    with served(root, url) as address, Client(address) as client:
        answers = calm(address)
        snapshot = Snapshot.load(first.snapshot_place(root), target_fingerprint=small_retriever().target_fingerprint)
        second_pair(root, snapshot)
        second = Current.read(root)
        client.reload()
        answers |= calm(address)
        with Load(address, answers) as load:
            for pair in [first, second] * 3:
                wait_for(load, 50)
                pair.write(root)
                client.reload()
            wait_for(load, 50)
    told("pair swapped, six times", load)
    assert len({retriever for retriever, _ in answers}) == 2
    assert (load.wrong, load.errors) == ([], 0)


class Changing:
    """Adds, replaces and removes clips one after the other, and knows what was acknowledged."""

    def __init__(self, url: str, videos: list[Path]) -> None:
        self.url, self.videos = url, videos
        self.held: dict[str, bool] = {}
        self.done = 0
        self.refused: list[RequestRefused] = []

    def step(self, client: Client, number: int) -> None:
        name = f"live {number % 7}"
        try:
            if self.held.get(name) and number % 3 == 0:
                client.remove_clip(name)
                self.held[name] = False
            else:
                client.add_clip(name, self.videos[number % len(self.videos)], label="live")
                self.held[name] = True
            self.done += 1
        except RequestRefused as refusal:
            self.refused.append(refusal)

    def lost(self, client: Client) -> list[str]:
        """Acknowledged changes that are not there."""
        lost = []
        for name, held in self.held.items():
            try:
                found = client.clip(name).clip_id == name
            except RequestRefused as refusal:
                if refusal.status != 404:
                    raise
                found = False
            if found != held:
                lost.append(name)
        return lost


@pytest.fixture
def videos(tmp_path) -> list[Path]:
    return [make_video(tmp_path / f"live{n}.mp4", width=64, height=48, fps=10, seed=50 + n) for n in range(3)]


def ready(client: Client, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            client.ready()
            return
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_clips_come_and_go_and_the_replica_is_killed(url, root, videos):
    """Compaction runs too; afterwards, and after a kill, what was acknowledged is there and nothing else."""
    with served(root, url, compact_after=10) as address, Client(address, timeout_s=120) as client:
        first = client.ready().clips
        changing = Changing(address, videos)
        with Load(address, calm(address)) as load:
            for number in range(40):
                changing.step(client, number)
                if number == 25:
                    replica("Retrieval").kill()
            wait_for(load, 50)
        lost = changing.lost(client)
        replica("Retrieval").kill()
        ready(client)
        lost += changing.lost(client)
        counted = client.ready().clips - first
    told("clips added, replaced and removed; replica killed", load, f"{changing.done} changes, {len(lost)} lost")
    assert changing.refused == []
    assert lost == []
    assert counted == sum(changing.held.values())
    assert (load.wrong, load.errors) == ([], 0)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 96 MiB: the retriever takes some thirty."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system may not be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_disk_is_full(url, small_disk, videos):
    root = Place(small_disk / "root")
    build_root(root, small_retriever())
    with served(root, url) as address, Client(address, timeout_s=120) as client:
        changing = Changing(address, videos)
        for number in range(5):
            changing.step(client, number)
        filler = small_disk / "filler"
        with Load(address, calm(address)) as load:
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(1 << 12)):
                        pass
                except OSError:
                    pass
            before = changing.done
            for number in range(5, 10):
                changing.step(client, number)
            full = [refusal.status for refusal in changing.refused]
            written = changing.done - before
            lost = changing.lost(client)
            filler.unlink()
            for number in range(10, 15):
                changing.step(client, number)
            wait_for(load, 50)
        replica("Retrieval").kill()
        ready(client)
        lost += changing.lost(client)
    told("disk full", load, f"{len(full)} changes refused (507), {written} written, {len(lost)} lost")
    assert full
    assert set(full) == {507}
    assert len(changing.refused) == len(full)
    assert lost == []
    assert (load.wrong, load.errors) == ([], 0)


def test_the_head_of_the_index_file_is_damaged_before_the_start(url, root):
    path = (Current.read(root).snapshot_place(root) / "vectors.faiss").local()
    data = bytearray(path.read_bytes())
    data[:16] = os.urandom(16)
    path.write_bytes(bytes(data))
    with served(root, url) as address:
        answers = [httpx.get(f"{address}/readyz")]
        answers += [httpx.post(f"{address}/v1/search", json={"clip_id": "a", "text": TEXT}) for _ in range(20)]
        alive = httpx.get(f"{address}/healthz").status_code
    details = {answer.json()["detail"] for answer in answers}
    print(f"\n| head of the index file damaged | {len(answers)} | {len(answers)} x 503 | 0 | | {details.pop()} |")
    assert alive == 200
    assert {answer.status_code for answer in answers} == {503}
    assert "damaged (vectors.faiss)" in answers[0].json()["detail"]
    assert not details
