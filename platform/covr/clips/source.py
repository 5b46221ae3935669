"""Opening a file that came from outside: what it is, and whether it is within the limits, before any decoding.

The first bytes decide the container and FFmpeg is told to use that demuxer and no other, over local files only:
playlists, concatenation scripts and their like are never opened, whatever their name says.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from covr.clips.failure import DecodeFailure
from covr.errors import UserError
from covr.limits import Limits

# FFmpeg's demuxers, by the names in Limits.containers.
_DEMUXERS = {"mov,mp4,m4a,3gp,3g2,mj2": "mov", "matroska,webm": "matroska", "avi": "avi", "mpegts": "mpegts"}
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")
_TS_PACKET = 188


def container_of(path: str, limits: Limits) -> str:
    """The container of a file (a name of `limits.containers`), told from its first bytes.

    Raises:
        DecodeFailure: missing, empty, over-limit, not-a-video.
        UserError: the file may not be read.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise DecodeFailure("not-a-video", "a folder, a pipe or a device")
        with open(path, "rb") as file:
            head = file.read(_TS_PACKET + 1)
    except FileNotFoundError:
        raise DecodeFailure("missing", "no such file") from None
    except PermissionError:
        raise UserError("no permission to read", path, "make it readable for this user") from None
    if status.st_size == 0:
        raise DecodeFailure("empty", "the file has no bytes")
    if status.st_size > limits.max_file_bytes:
        raise DecodeFailure("over-limit", f"{status.st_size} bytes, allowed are {limits.max_file_bytes}")
    found = _sniff(head)
    if found is None:
        raise DecodeFailure("not-a-video", "the first bytes are those of no known container")
    if found not in limits.containers:
        raise DecodeFailure("not-a-video", f"container {found} is not allowed")
    return found


def _sniff(head: bytes) -> str | None:
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    if head[4:8] in _MOV_BOXES:
        return "mov,mp4,m4a,3gp,3g2,mj2"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska,webm"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if len(head) > _TS_PACKET and head[0] == head[_TS_PACKET] == 0x47:
        return "mpegts"
    return None


@contextmanager
def open_video(path: str, container: str, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The opened container and its video stream, their headers within the limits.

    What FFmpeg raises inside the `with` block becomes a refusal as well.

    Raises:
        DecodeFailure: no-video-stream, over-limit, corrupt, out-of-memory.
    """
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": container,
        "codec_whitelist": ",".join(_decoders(limits)),
    }
    try:
        with av.open(f"file:{os.path.abspath(path)}", format=_DEMUXERS[container], options=options) as opened:
            yield opened, _video_stream(opened, limits)
    except (MemoryError, BlockingIOError) as error:  # the latter: no memory to start a thread
        raise DecodeFailure("out-of-memory", str(error)) from None
    except av.FFmpegError as error:
        raise DecodeFailure("corrupt", f"FFmpeg: {error.strerror}") from None


def _decoders(limits: Limits) -> list[str]:
    """FFmpeg's decoders of the allowed codecs; AV1 has one in software that is named otherwise."""
    return [*limits.codecs, *(["libdav1d"] if "av1" in limits.codecs else [])]


def _video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise DecodeFailure("no-video-stream", "no video stream in the file")
    stream = streams[0]
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "an unknown codec"
    if codec not in limits.codecs:
        raise DecodeFailure("no-video-stream", f"the video is {codec}; allowed are {', '.join(limits.codecs)}")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width < 1 or height < 1:
        raise DecodeFailure("corrupt", "the header gives no frame size")
    if width * height > limits.max_pixels:
        raise DecodeFailure("over-limit", f"{width} x {height} pixels, allowed are {limits.max_pixels}")
    stream.codec_context.thread_count = 1  # one thread a decode, parallel over clips
    return stream
