"""Frames by decord, for the files that it reads rightly."""

from __future__ import annotations

import os
import re

import decord
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from covr.clips.failure import DecodeFailure
from covr.clips.timeline import Timeline

decord.logging.set_level(decord.logging.QUIET)
_SOURCE_LINE = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")  # clock and line, which decord puts before its messages


def reads_rightly(container: InputContainer, stream: VideoStream, line: Timeline) -> bool:
    """Whether decord 0.6 gives right frames of such a file; PyAV decodes the others.

    A function of the file alone, so that a clip is decoded alike everywhere. Measured exceptions: it repeats frames
    of MPEG-TS, loses count where the frame rate varies or groups of pictures are open, has no AV1, chooses among
    several streams by its own rule, and fails in `get_batch` on small frames with padded rows (48 x 48); how rows are
    padded depends on the CPU, multiples of 64 never are. AVI is left out because its subtitles may hold playlists,
    which decord, told of no allow-list, would open.
    """
    sides = (stream.codec_context.width, stream.codec_context.height)  # rotation may swap them
    return (
        container.format.name in ("mov", "matroska")
        and line.regular
        and stream.codec_context.codec.canonical_name != "av1"
        and len(container.streams.video) == 1
        and all(side >= 128 or side % 64 == 0 for side in sides)
    )


def read(path: str, line: Timeline, wanted: np.ndarray) -> np.ndarray | None:
    """The frames numbered `wanted` (int64 (N,), ascending, distinct) as uint8 RGB (N, H, W, 3), as displayed.

    Returns:
        None where decord cannot open the file, or counts other frames in it than its timeline has (edit lists).

    Raises:
        DecodeFailure: corrupt, out-of-memory.
    """
    try:
        # fault_tol: any frame that decord would replace by a neighbour is an error. One thread a decode.
        reader = decord.VideoReader(os.path.abspath(path), num_threads=1, fault_tol=1e-9)
    except (decord.DECORDError, RuntimeError):
        return None
    if len(reader) != len(line):
        return None
    try:
        return reader.get_batch(wanted.tolist()).asnumpy()
    except (decord.DECORDError, decord.DECORDLimitReachedError) as error:
        said = _SOURCE_LINE.sub("", str(error).strip().splitlines()[-1])
        raise DecodeFailure("out-of-memory" if "bad_alloc" in str(error) else "corrupt", f"decord: {said}") from None
