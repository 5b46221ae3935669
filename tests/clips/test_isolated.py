"""What happens to the decode process costs one clip and nothing else."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from make_videos import make_corrupt, make_long, make_video

from covr.clips import DecodeFailure, Sampling, decode
from covr.clips.isolated import IsolatedDecoder
from covr.errors import UserError
from covr.limits import LIMITS

SAMPLING = Sampling(num_frames=8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A short clip, and one whose decoding takes seconds."""
    folder = tmp_path_factory.mktemp("videos")
    short = make_video(folder / "short.mp4", num_frames=60)
    long = make_long(folder / "long.mp4", repeats=150)
    return str(short), str(long)


@pytest.fixture
def decoder():
    with IsolatedDecoder() as isolated:
        yield isolated


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_frames_are_those_of_a_decode_in_process(videos, decoder):
    for seed in (None, 3):
        expected = decode(videos[0], SAMPLING, 0.2, 1.7, rng_seed=seed)
        clip = decoder.decode(videos[0], SAMPLING, 0.2, 1.7, rng_seed=seed)
        np.testing.assert_array_equal(clip.frames, expected.frames)
        np.testing.assert_array_equal(clip.indices, expected.indices)
        assert (clip.num_frames, clip.fps, clip.width, clip.height) == (45, 30.0, 128, 64)


def test_frames_stay_when_the_next_clip_comes(tmp_path, decoder):
    first = decoder.decode(str(make_video(tmp_path / "a.mp4", seed=1)), SAMPLING)
    before = first.frames.copy()
    decoder.decode(str(make_video(tmp_path / "b.mp4", seed=2)), SAMPLING)
    np.testing.assert_array_equal(first.frames, before)


def test_a_refusal_and_a_users_error_cross_the_process_border(tmp_path, videos, decoder):
    with pytest.raises(DecodeFailure) as failure:
        decoder.decode(str(make_corrupt(tmp_path / "bad.mp4", num_frames=90)), SAMPLING)
    assert failure.value.reason == "corrupt"
    with pytest.raises(UserError, match="300 frames"):
        decoder.decode(videos[0], Sampling(num_frames=300))
    assert decoder.decode(videos[0], SAMPLING).num_frames == 60


def test_one_process_serves_many_clips(videos, decoder):
    decoder.decode(videos[0], SAMPLING)
    pid = decoder.pid
    for _ in range(5):
        decoder.decode(videos[0], SAMPLING)
    assert decoder.pid == pid


def test_a_process_is_replaced_after_its_share_of_clips(videos):
    with IsolatedDecoder(clips_per_process=2) as decoder:
        pids = []
        for _ in range(4):
            decoder.decode(videos[0], SAMPLING)
            pids.append(decoder.pid)
    assert pids[0] is not None
    assert pids[1] is None  # ended after its second clip
    assert pids[2] not in (None, pids[0])


def test_a_process_that_holds_too_much_memory_is_replaced(videos):
    limits = dataclasses.replace(LIMITS, decode_memory_bytes=20 << 20)
    with IsolatedDecoder(limits=limits) as decoder:
        decoder.decode(videos[0], SAMPLING)
        assert decoder.pid is None


def test_a_missed_deadline_costs_one_clip(videos):
    limits = dataclasses.replace(LIMITS, decode_timeout_s=0.4)
    with IsolatedDecoder(limits=limits) as decoder:
        decoder.decode(videos[0], SAMPLING)
        pid, start = decoder.pid, time.monotonic()
        with pytest.raises(DecodeFailure) as failure:
            decoder.decode(videos[1], SAMPLING)
        assert failure.value.reason == "timeout"
        assert time.monotonic() - start < 1.5
        assert not is_running(pid)
        assert decoder.decode(videos[0], SAMPLING).num_frames == 60


def test_a_killed_decode_costs_one_clip(videos, decoder):
    decoder.decode(videos[0], SAMPLING)
    threading.Timer(0.2, os.kill, (decoder.pid, signal.SIGKILL)).start()
    with pytest.raises(DecodeFailure) as failure:
        decoder.decode(videos[1], SAMPLING)
    assert failure.value.reason == "crashed"
    assert "SIGKILL" in failure.value.detail
    assert decoder.decode(videos[0], SAMPLING).num_frames == 60


def test_a_process_killed_between_clips_costs_none(videos, decoder):
    decoder.decode(videos[0], SAMPLING)
    os.kill(decoder.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert decoder.decode(videos[0], SAMPLING).num_frames == 60


def test_a_memory_bomb_costs_one_clip(tmp_path, videos):
    bomb = str(make_video(tmp_path / "bomb.mp4", num_frames=8, width=3840, height=2160, b_frames=0))
    limits = dataclasses.replace(LIMITS, decode_memory_bytes=24 << 20)
    with IsolatedDecoder("pyav", limits) as decoder:
        with pytest.raises(DecodeFailure) as failure:
            decoder.decode(bomb, SAMPLING)
        assert failure.value.reason in ("out-of-memory", "crashed")
        assert decoder.decode(videos[0], SAMPLING).num_frames == 60


def test_no_process_outlives_the_decoder(videos):
    with IsolatedDecoder() as decoder:
        decoder.decode(videos[0], SAMPLING)
        pid = decoder.pid
    assert not is_running(pid)


@pytest.mark.parametrize("during", ["idle", "decoding"])
def test_no_process_outlives_a_killed_parent(videos, during):
    program = (
        "import dataclasses, sys\n"
        "from covr.clips import Sampling\n"
        "from covr.clips.isolated import IsolatedDecoder\n"
        "from covr.limits import LIMITS\n"
        "decoder = IsolatedDecoder(limits=dataclasses.replace(LIMITS, decode_timeout_s=1.0))\n"
        "decoder.decode(sys.argv[1], Sampling(num_frames=2))\n"
        "print(decoder.pid, flush=True)\n"
        "if sys.argv[2] == 'decoding':\n"
        "    decoder.decode(sys.argv[3], Sampling(num_frames=2))\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, videos[0], during, videos[1]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(pid)
        parent.kill()
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


@pytest.mark.bench
def test_isolation_costs_little(tmp_path, decoder):
    """Interleaved, so that the load of the machine falls on both; the target is 1.15 for 64-pixel clips."""
    path = str(make_video(tmp_path / "a.mp4", num_frames=60, width=64, height=64))
    bare, isolated = [], []
    for _ in range(300):
        for seconds, run in (
            (bare, lambda: decode(path, SAMPLING)),
            (isolated, lambda: decoder.decode(path, SAMPLING)),
        ):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    ratio = np.median(isolated) / np.median(bare)
    print(f"isolation cost: {ratio:.3f} (median of {len(bare)}; {1000 * np.median(bare):.2f} ms in process)")
    assert ratio <= 1.15


def test_the_process_has_no_network_where_the_kernel_allows_that(videos, decoder):
    allowed = [subprocess.run(["unshare", how, "true"], capture_output=True, check=False) for how in ("-n", "-Un")]
    if all(each.returncode for each in allowed):
        pytest.skip("this kernel lets no process leave the network")
    decoder.decode(videos[0], SAMPLING)
    assert os.readlink(f"/proc/{decoder.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    devices = Path(f"/proc/{decoder.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


def test_a_decode_that_is_interrupted_ends_at_once_and_the_next_one_goes_on(videos, decoder):
    decoder.decode(videos[0], SAMPLING)
    threading.Timer(0.3, decoder.interrupt).start()
    start = time.monotonic()
    with pytest.raises(DecodeFailure, match="crashed"):
        decoder.decode(videos[1], Sampling(num_frames=100))
    assert time.monotonic() - start < 3
    assert len(decoder.decode(videos[0], SAMPLING).frames) == 8
