"""Clips made small enough to lie inside a page: a few dozen frames, at most 224 pixels a side, H.264."""

from __future__ import annotations

import base64
import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pyarrow as pa
from PIL import Image

from covr.clips import DecodeFailure, Sampling
from covr.clips.fetch import on_disk
from covr.clips.isolated import IsolatedDecoder
from covr.limits import LIMITS
from covr.storage import Place

SIDE = 224  # longest, in pixels
FRAMES = 48
IMAGE_SECONDS = 1
ENCODER = {"crf": "26", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
"""No macroblock tree: with it x264 gives a small clip other bytes now and then, and so another report."""


def previews(root: Place, clips: pa.Table) -> dict[str, str]:
    """Each clip of a `clips` table as the base64 text of a small MP4; a clip that cannot be decoded has none."""
    made: dict[str, str] = {}
    with IsolatedDecoder() as decoder:
        for clip in clips.to_pylist():
            try:
                data = _preview(decoder, root.resolve(clip["uri"]), clip)
            except DecodeFailure:
                continue  # the page says so in its place
            made[clip["clip_id"]] = base64.b64encode(data).decode()
    return made


def encode(frames_THWC: np.ndarray, fps: Fraction) -> bytes:
    """An MP4 file (H.264, 4:2:0) of uint8 RGB frames of even sides."""
    _, height, width, _ = frames_THWC.shape
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _preview(decoder: IsolatedDecoder, place: Place, clip: dict[str, Any]) -> bytes:
    frame_bytes = max(1, 3 * (clip["width"] or 0) * (clip["height"] or 0))
    most = max(1, min(FRAMES, LIMITS.max_decoded_bytes // frame_bytes))
    with on_disk(place) as path:
        found = decoder.decode(str(path), Sampling(kind="all", num_frames=most), clip["start_s"], clip["end_s"])
    seconds = found.num_frames / found.fps if found.fps else IMAGE_SECONDS
    fps = Fraction(max(len(found.frames) / seconds, 0.5)).limit_denominator(1000)
    return encode(_small(found.frames), fps)


def _small(frames_TCHW: np.ndarray) -> np.ndarray:
    """(T, h, w, 3) with even sides of at most SIDE."""
    _, _, height, width = frames_TCHW.shape
    shrink = min(1.0, SIDE / max(height, width))
    size = tuple(max(2, round(side * shrink / 2) * 2) for side in (width, height))
    images = (Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))) for frame in frames_TCHW)
    return np.stack([np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for image in images])
