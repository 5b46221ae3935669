"""When each frame of a video is shown, and which are key frames: read from the packets, without decoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from covr.clips.failure import DecodeFailure
from covr.limits import Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """The frames of one stream in the order shown; frame i of both decoders is entry i here."""

    pts: np.ndarray | None
    """int64 (N,), ascending, in units of the stream; None where the container gives none or gives them twice."""
    times: np.ndarray
    """float64 (N,): seconds from the first frame."""
    keys: np.ndarray
    """int64, ascending: the frames that decoding can start from."""
    regular: bool
    """Whether the frame rate is constant and no group of pictures needs frames of another one."""
    fps: float

    def __len__(self) -> int:
        return len(self.times)

    def window(self, start_s: float | None, end_s: float | None, limits: Limits) -> tuple[int, int]:
        """The frames [first, last) shown from `start_s` until before `end_s`; at least the one on show at `start_s`.

        Raises:
            DecodeFailure: empty (the video ends before `start_s`), over-limit (the stretch is too long).
        """
        start = 0.0 if start_s is None else start_s
        video_end = float(self.times[-1]) + 1 / self.fps
        end = video_end if end_s is None else min(end_s, video_end)
        if start >= video_end or end <= start:
            raise DecodeFailure(
                "empty", f"no frame between {start:g} and {end:g} s; the video ends at {video_end:.3f} s"
            )
        check_seconds(end - start, limits)
        times = np.round(self.times, 6)  # so that 0.1 s finds the frame at 3/30 s
        first, last = (int(np.searchsorted(times, round(at, 6))) for at in (start, end))
        return (first, last) if last > first else (first - 1, first)


def timeline(container: InputContainer, stream: VideoStream) -> Timeline:
    """Read the timeline by going through the packets of `stream`.

    Raises:
        DecodeFailure: corrupt (no frames, or fewer than the header declares).
    """
    packets = [p for p in container.demux(stream) if p.size]
    if len(packets) < stream.frames:
        raise DecodeFailure("corrupt", f"{len(packets)} frames of the {stream.frames} that the header declares")
    if any(p.is_corrupt for p in packets):
        raise DecodeFailure("corrupt", "the container marks packets as damaged")
    shown = [p for p in packets if not p.is_discard]
    if not shown:
        raise DecodeFailure("corrupt", "the video stream has no frames")
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    fps = rate if 0 < rate < 1000 else 25.0  # 25: FFmpeg's own assumption where the header says nothing sensible
    stamps = [p.pts for p in shown]
    # AVI stores no times of presentation; FFmpeg's guesses go wrong where frames are reordered.
    if None in stamps or len(set(stamps)) < len(stamps) or container.format.name == "avi":
        keys = np.zeros(1, np.int64)
        return Timeline(pts=None, times=np.arange(len(shown)) / fps, keys=keys, regular=False, fps=fps)
    pts = np.array(stamps, np.int64)
    order = np.argsort(pts)
    pts = pts[order]
    times = (pts - pts[0]) * float(stream.time_base or 0)
    is_key = np.array([p.is_keyframe for p in shown])
    keys = np.flatnonzero(is_key[order])
    closed = np.array_equal(keys, np.flatnonzero(is_key)) and all(_restarts(p) for p in shown if p.is_keyframe)
    gaps = np.diff(pts)
    regular = closed and bool(len(gaps) == 0 or np.ptp(gaps) <= 1)  # 1: rounding to the unit of the stream
    declared_s = declared_seconds(container, stream)
    # A container without a frame count that stops well before its declared end has been cut off.
    if not stream.frames and len(container.streams) == 1 and times[-1] + 1 / fps < 0.9 * declared_s:
        raise DecodeFailure("corrupt", f"the frames end at {times[-1]:.2f} s of the {declared_s:.2f} s declared")
    return Timeline(pts=pts, times=times, keys=keys, regular=regular, fps=fps)


def _restarts(key: Packet) -> bool:
    """Whether a key packet leaves no reference to frames before it: of H.264, whether it holds an IDR slice.

    Reads the 4-byte lengths of NAL units that MP4 and Matroska store; other layouts count as no.
    """
    if key.stream.codec_context.codec.canonical_name != "h264":
        return True
    units, at = memoryview(key), 0
    while at + 4 < len(units):
        if units[at + 4] & 31 == 5:
            return True
        at += 4 + int.from_bytes(units[at : at + 4], "big")
    return False


def declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The duration by the header's own word; 0 where it has none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def check_seconds(seconds: float, limits: Limits) -> None:
    """Raise DecodeFailure over-limit where a stretch is longer than allowed."""
    if seconds > limits.max_duration_s:
        raise DecodeFailure("over-limit", f"{seconds:.1f} s of video, allowed are {limits.max_duration_s:g}")
