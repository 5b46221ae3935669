"""Files that a decoder should not be sent: field-tested bad containers, made small."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from make_videos import make_audio, make_video
from PIL import Image


def small(path: Path, **changes: object) -> bytes:
    return make_video(path, **{"width": 64, "height": 48, "fps": 10, "num_frames": 20, **changes}).read_bytes()  # type: ignore[arg-type]


def random_bytes(_: Path) -> bytes:
    return np.random.default_rng(0).bytes(5000)


def jpeg(_: Path) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def archive(_: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("clip.mp4", b"x" * 1000)
    return buffer.getvalue()


def atom(data: bytes, name: bytes) -> tuple[int, int]:
    """Where an atom of an MP4 file begins and ends, its head included."""
    start = data.index(name) - 4
    return start, start + struct.unpack_from(">I", data, start)[0]


def without_moov(path: Path) -> bytes:
    data = small(path)
    return data[: atom(data, b"moov")[0]]


def moov_first(path: Path) -> bytes:
    """As for streaming."""
    small(path)
    target = path.with_suffix(".fast.mp4")
    with av.open(str(path)) as source, av.open(str(target), "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                file.mux(packet)
    return target.read_bytes()


def half(path: Path) -> bytes:
    """The head is whole, half of the pictures are not there."""
    data = moov_first(path)
    start, end = atom(data, b"mdat")
    return data[: (start + end) // 2]


def audio(path: Path) -> bytes:
    return make_audio(path).read_bytes()


def cover_art(path: Path) -> bytes:
    """Sound, and a picture that is its cover."""
    with av.open(str(path), "w", format="mp4") as file:
        sound = file.add_stream("aac", rate=44100)
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        for stream, frame in ((sound, silence), (cover, av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8)))):
            file.mux(stream.encode(frame))
            file.mux(stream.encode())
    return path.read_bytes()


def no_frame(path: Path) -> bytes:
    """A stream of pictures, and no picture."""
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.start_encoding()
    return path.read_bytes()


def frames(count: int) -> Callable[[Path], bytes]:
    return lambda path: small(path, num_frames=count)


def patched(name: bytes, at: int, value: int, **video: object) -> Callable[[Path], bytes]:
    """A 32-bit number in an atom is another one."""

    def make(path: Path) -> bytes:
        data = bytearray(small(path, **video))
        struct.pack_into(">I", data, atom(bytes(data), name)[0] + at, value)
        return bytes(data)

    return make


def avi_rate(rate: int, scale: int) -> Callable[[Path], bytes]:
    """An AVI file whose stream says that it shows rate / scale frames a second."""

    def make(path: Path) -> bytes:
        target = path.with_suffix(".avi")
        data = bytearray(small(target, codec="mpeg4"))
        struct.pack_into("<II", data, data.index(b"strh") + 28, scale, rate)
        return bytes(data)

    return make


def timed(*times: int) -> Callable[[Path], bytes]:
    return lambda path: small(path, num_frames=len(times), times=times, b_frames=0)


def matroska_clusters_swapped(path: Path) -> bytes:
    """The second half of the pictures comes first, each with its own time: they run backwards in the middle."""
    target = path.with_suffix(".mkv")
    options = {"cluster_time_limit": "500"}
    small(path, gop=5, b_frames=0)
    with av.open(str(path)) as source, av.open(str(target), "w", options=options) as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                file.mux(packet)
    data = target.read_bytes()
    mark = bytes.fromhex("1f43b675")
    starts = [at for at in range(len(data)) if data[at : at + 4] == mark]
    end = data.rindex(bytes.fromhex("1c53bb6b"))  # the cues
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], end], strict=True)]
    half = len(parts) // 2
    return data[: starts[0]] + b"".join([*parts[half:], *parts[:half]]) + data[end:]


# F3's number, what it is, how it is made, the answer, and the word in its `type`.
VIDEOS: list[tuple[int, str, Callable[[Path], bytes], int, str]] = [
    (30, "no bytes", lambda _: b"", 422, "empty"),
    (31, "random bytes", random_bytes, 415, "not-a-video"),
    (32, "a picture: read as one", jpeg, 200, ""),
    (32, "a PDF", lambda _: b"%PDF-1.7\n" + bytes(1000), 415, "not-a-video"),
    (32, "a page", lambda _: b"<!doctype html><video src=file:///etc/passwd>", 415, "not-a-video"),
    (32, "an archive", archive, 415, "not-a-video"),
    (33, "moov missing", without_moov, 422, "corrupt"),
    (33, "moov at the end", small, 200, ""),
    (33, "moov first", moov_first, 200, ""),
    (33, "cut in half", half, 422, "corrupt"),
    (34, "audio only", audio, 415, "no-video-stream"),
    (35, "cover art only", cover_art, 415, "no-video-stream"),
    (36, "no frame", no_frame, 415, "no-video-stream"),
    (36, "one frame", frames(1), 200, ""),
    (36, "two frames", frames(2), 200, ""),
    (37, "a billion frames of the same size", patched(b"stsz", 16, 10**9), 422, "corrupt"),
    (37, "a billion frames by their times", patched(b"stts", 16, 10**9), 422, "corrupt"),
    (37, "a million frames a second", patched(b"mdhd", 20, 10**8), 200, ""),
    (38, "no frames a second: the packets tell", avi_rate(0, 1), 200, ""),
    (38, "neither rate nor scale", avi_rate(0, 0), 200, ""),
    (39, "times below zero: not shown", timed(-5, -4, -3, -2, -1, 0, 1, 2), 200, ""),
    (39, "all frames at one time: in the file's order", patched(b"stts", 20, 0, b_frames=0), 200, ""),
    (39, "times that run backwards", matroska_clusters_swapped, 422, "corrupt"),
    (40, "variable frame rate", timed(0, 1, 5, 6, 20, 21, 50, 51), 200, ""),
]
