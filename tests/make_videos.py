"""Small real video files for tests: every frame shows its own number, so that a wrong frame is seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 9


def numbered(number: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 RGB (H, W, 3): the number in binary as bars in the upper half, a colour by `seed` in the lower."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = np.random.default_rng(seed).integers(40, 200, 3)
    for bit in range(BITS):
        frame[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 225 if number >> bit & 1 else 15
    return frame


def number_of(frame_CHW: np.ndarray) -> int:
    """The number that a decoded frame shows."""
    _, height, width = frame_CHW.shape
    row = frame_CHW[1, height // 4]
    return sum(int(row[int((bit + 0.5) * width / BITS)] > 120) << bit for bit in range(BITS))


def make_video(
    path: Path,
    *,
    num_frames: int = 30,
    width: int = 128,
    height: int = 64,
    codec: str = "libx264",
    fps: int = 30,
    gop: int = 250,
    b_frames: int = 3,
    x264: str = "",
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: int = 0,
    seed: int = 0,
    picture: Callable[[int, int, int, int], np.ndarray] = numbered,
) -> Path:
    """Write a file of numbered frames.

    Args:
        picture: makes a frame of number, height, width and seed.
        times: of each frame, in units of 1 / fps; None: one after the other.
        rotation: degrees anti-clockwise that a player turns the picture.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"g": str(gop), "bf": str(b_frames), "crf": "8", "preset": "veryfast", "x264-params": x264}
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number, height, width, seed), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    os.sched_setscheduler(0, policy, priority)  # SVT-AV1 gives root's process, and all it starts, real-time priority
    return path


def make_long(path: Path, *, repeats: int, width: int = 1280, height: int = 720) -> Path:
    """A video that takes seconds to decode and little to make: the packets of 50 frames repeated, none to seek to."""
    once = make_video(path.with_name(f"once-{path.name}"), num_frames=50, width=width, height=height, b_frames=0)
    with av.open(str(once)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(p), p.pts, p.is_keyframe) for p in source.demux(video=0) if p.size]
        step, time_base = packets[1][1] - packets[0][1], source.streams.video[0].time_base
        for repeat in range(repeats):
            for data, pts, is_keyframe in packets:
                packet = av.Packet(data)
                packet.pts = packet.dts = pts + repeat * len(packets) * step
                packet.stream, packet.time_base, packet.is_keyframe = stream, time_base, is_keyframe and not repeat
                target.mux(packet)
    return path


def make_audio(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_corrupt(path: Path, **video: int) -> Path:
    """A video whose packets are noise from 40 % on, its header whole."""
    data = bytearray(make_video(path, **video).read_bytes())
    start, end = data.find(b"mdat") + 4, data.find(b"moov") - 4
    start += (end - start) * 2 // 5
    data[start:end] = np.random.default_rng(0).bytes(end - start)
    path.write_bytes(data)
    return path


def textured(number: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 RGB (H, W, 3): blocks by `seed` that move on every third frame, so that other seeds look different."""
    blocks = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    rows, columns = 12 * np.arange(height) // height, (12 * np.arange(width) // width + number // 3) % 12
    return blocks[rows[:, None], columns]
