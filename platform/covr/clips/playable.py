"""Files that browsers play as they are, and renditions of those that they do not.

A rendition is for people to look at: frames are always decoded from the file that was given. It keeps the time axis of
its file, so that a stretch in seconds means the same in both.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from covr.clips import pyav_backend
from covr.clips.decode import ClipInfo
from covr.clips.source import container_of, open_video
from covr.clips.timeline import timeline
from covr.limits import Limits
from covr.storage import Place

SIDE = 720
"""Shorter side of a rendition, in pixels, at most."""
_CLOCK = 90_000  # ticks a second: holds the times of variable frame rates
_ENCODER = {"crf": "24", "preset": "veryfast", "g": "60", "bf": "0"}
# The common ground of Chromium, Firefox and Safari; ten bits, 4:4:4 and HEVC are not on it.
_CODECS = {"mov,mp4,m4a,3gp,3g2,mj2": ("h264", "av1", "vp9"), "matroska,webm": ("vp8", "vp9", "av1")}
_PIXELS = ("yuv420p", "yuvj420p")


def plays_in_browsers(info: ClipInfo, name: str) -> bool:
    """Whether browsers play a file of this kind and name (Matroska only as .webm)."""
    if info.kind == "image":
        return True
    if info.container == "matroska,webm" and not name.lower().endswith(".webm"):
        return False
    return info.codec in _CODECS.get(info.container, ()) and info.pixels in _PIXELS


def rendition(root: Place, sha256: str) -> Place:
    """Where the rendition of a file, by the hash of its bytes, is under a storage root, if it has one."""
    return root / f"media/playable/{sha256}.mp4"


def transcode(path: str, target: str, limits: Limits) -> None:
    """Write a local video as H.264 in MP4: upright, without sound, at most `SIDE` on its shorter side.

    Raises:
        DecodeFailure: the file is refused.
        UserError: the file may not be read.
    """
    container = container_of(path, limits)
    with open_video(path, container, limits) as (opened, stream):
        line = timeline(opened, stream)
        context = stream.codec_context
        shrink = min(1.0, SIDE / min(context.width, context.height))
        width, height = (max(2, round(side * shrink / 2) * 2) for side in (context.width, context.height))
        with av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as written:
            made = written.add_stream("libx264", rate=Fraction(line.fps).limit_denominator(1001), options=_ENCODER)
            made.pix_fmt = "yuv420p"
            made.codec_context.thread_count = 1
            made.codec_context.time_base = Fraction(1, _CLOCK)
            for number, frame in pyav_backend.decode_from(0, opened, stream, line):
                stored = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
                upright: np.ndarray = np.ascontiguousarray(np.rot90(stored, pyav_backend.rotation(frame)))
                if not made.codec_context.is_open:
                    made.height, made.width = upright.shape[:2]
                shown = av.VideoFrame.from_ndarray(upright, format="rgb24")
                shown.pts, shown.time_base = round(float(line.times[number]) * _CLOCK), Fraction(1, _CLOCK)
                written.mux(made.encode(shown))
            written.mux(made.encode())
