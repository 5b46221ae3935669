"""Frames by PyAV: exact for every allowed container, with variable frame rates and rotation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from covr.clips.failure import DecodeFailure
from covr.clips.timeline import Timeline

_LEAD_S = 2


def read(container: InputContainer, stream: VideoStream, line: Timeline, wanted: np.ndarray) -> np.ndarray:
    """The frames numbered `wanted` (int64 (N,), ascending, distinct) as uint8 RGB (N, H, W, 3), as displayed.

    Seeks to the key frame before a wanted frame where that skips frames, else decodes on.

    Raises:
        DecodeFailure: corrupt.
    """
    found: list[np.ndarray] = []
    frames: Iterator[tuple[int, VideoFrame]] = iter(())
    at = -1  # the frame decoded last
    for number in wanted.tolist():
        before = line.keys[line.keys <= number]
        key = int(before[-1]) if len(before) else 0
        if not found or key > at + 1:
            frames = decode_from(key, container, stream, line)
        at, frame = _forward(frames, number)
        if at > number:  # an open group of pictures: shown before its key frame, decoded only from an earlier one
            frames = decode_from(0, container, stream, line)
            at, frame = _forward(frames, number)
        if frame is None or at > number:
            raise DecodeFailure("corrupt", f"frame {number} of {len(line)} cannot be decoded")
        found.append(_rgb(frame, stream))
    return np.stack(found)


def _forward(frames: Iterator[tuple[int, VideoFrame]], number: int) -> tuple[int, VideoFrame | None]:
    """The first frame at or after `number`."""
    for at, frame in frames:
        if at >= number:
            return at, frame
    return number, None


def decode_from(
    key: int, container: InputContainer, stream: VideoStream, line: Timeline
) -> Iterator[tuple[int, VideoFrame]]:
    """(number, frame) of each frame of the timeline from the key frame numbered `key` on, in the order shown."""
    start = int(line.pts[key]) if line.pts is not None else stream.start_time or 0
    if container.format.name == "mpegts":  # sought by bytes: its own time may land on the key frame after it
        start -= int(_LEAD_S / (stream.time_base or 1))
    container.seek(start, stream=stream)
    if line.pts is None:  # only counting tells which frame is which
        yield from enumerate(container.decode(stream))
        return
    number_of = {pts: number for number, pts in enumerate(line.pts.tolist())}
    for frame in container.decode(stream):
        number = number_of.get(frame.pts)
        if number is not None:
            yield number, frame


def rotation(frame: VideoFrame) -> int:
    """Quarter turns anti-clockwise that show the frame as meant; other angles are not applied, as players do not."""
    return round(frame.rotation / 90) % 4 if frame.rotation % 90 == 0 else 0


def _rgb(frame: VideoFrame, stream: VideoStream) -> np.ndarray:
    if frame.is_corrupt:
        raise DecodeFailure("corrupt", f"the frame at {frame.time} s is damaged")
    context = stream.codec_context  # the size may change midway: all frames get the first one's
    pixels = frame.reformat(width=context.width, height=context.height, format="rgb24").to_ndarray()
    return np.rot90(pixels, rotation(frame))
