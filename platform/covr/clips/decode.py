"""One interface to decoding: sampled frames of a clip, by decord or PyAV, or a refusal with its reason.

Runs in the caller's process and without a deadline; `covr.clips.isolated` gives it both a process and a deadline.

    T frames  H, W height and width as displayed
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Literal, get_args

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from covr.clips import decord_backend, image, pyav_backend
from covr.clips.failure import DecodeFailure
from covr.clips.sampling import Sampling
from covr.clips.source import container_of, open_video
from covr.clips.timeline import Timeline, check_seconds, declared_seconds, timeline
from covr.errors import UserError
from covr.limits import LIMITS, Limits

Decoder = Literal["decord", "pyav"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """The sampled frames of a clip."""

    frames: np.ndarray
    """uint8 RGB (T, 3, H, W), as displayed; may be a view. Padding frames are black."""
    indices: np.ndarray
    """int64 (T,): their numbers in the file, in the order shown; -1 is padding."""
    num_sampled: int
    """Frames that the sampling takes: T, or more where a part was asked for."""
    num_frames: int
    """Frames in the clip that the samples were taken from."""
    fps: float
    """0 of an image."""
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipInfo:
    """What a file is, as far as a table of clips wants to know."""

    kind: Literal["video", "image"]
    num_frames: int
    fps: float
    """0 of an image."""
    duration_s: float
    width: int
    """As displayed, like `height`."""
    height: int
    container: str = "image"
    """A name of `Limits.containers`."""
    codec: str = ""
    """As FFmpeg names it; empty of an image, like `pixels`."""
    pixels: str = ""
    """The pixel format, as FFmpeg names it."""


def version(decoder: Decoder) -> str:
    """What decides the pixels of a decoded clip: goes into the key of everything computed from them.

    decord's names PyAV too, which decodes what decord would not read rightly (`decord_backend.reads_rightly`).
    """
    _known(decoder)
    pyav = f"av-{metadata.version('av')}"
    return pyav if decoder == "pyav" else f"decord-{metadata.version('decord')}+{pyav}"


def decode(
    path: str,
    sampling: Sampling,
    start_s: float | None = None,
    end_s: float | None = None,
    decoder: Decoder = "decord",
    limits: Limits = LIMITS,
    rng_seed: int | None = None,
    part_from: int | None = None,
) -> Clip:
    """The frames that `sampling` takes from a local file, or from its stretch [start_s, end_s).

    Args:
        rng_seed: draws the frames at random, by this seed; None takes the middles.
        part_from: the sampled frames from this place on, as many as `limits.max_decoded_bytes` hold; None: all of
            them, or a refusal.

    Raises:
        DecodeFailure: the clip is refused.
        UserError: the file may not be read, or the sampling asks for more frames than the limits allow.
    """
    _known(decoder)
    if sampling.num_frames > limits.max_frames:
        raise UserError(
            f"the sampling takes {sampling.num_frames} frames, allowed are {limits.max_frames}",
            "sampling.num_frames",
            "take fewer",
        )
    rng = None if rng_seed is None else np.random.default_rng(rng_seed)
    container = container_of(path, limits)
    if container == "image":
        picture = image.read(path, limits)
        sampled = sampling.indices(1, rng)
        taken = _part(sampled, picture.nbytes, part_from, limits)
        return _clip(picture, np.zeros(1, np.int64), taken, 0, len(sampled), 1, 0.0)
    with open_video(path, container, limits) as (opened, stream):
        line, first, last = _stretch(opened, stream, start_s, end_s, limits)
        sampled = sampling.indices(last - first, rng)
        size = stream.codec_context.width * stream.codec_context.height * 3
        taken = _part(sampled, size, part_from, limits)
        real = taken[taken >= 0]
        wanted = np.unique(real if len(real) else sampled[:1]) + first  # padding alone has the size of a frame
        pixels: np.ndarray | None = None
        if decoder == "decord" and decord_backend.reads_rightly(opened, stream, line):
            pixels = decord_backend.read(path, line, wanted)
        if pixels is None:
            pixels = pyav_backend.read(opened, stream, line, wanted)
    return _clip(pixels, wanted, taken, first, len(sampled), last - first, line.fps)


def probe(path: str, start_s: float | None = None, end_s: float | None = None, limits: Limits = LIMITS) -> ClipInfo:
    """What the file (or its stretch) is; decodes one frame at most, and refuses what `decode` refuses by its header.

    Raises:
        DecodeFailure: the file is refused.
        UserError: the file may not be read.
    """
    container = container_of(path, limits)
    if container == "image":
        _, height, width, _ = image.read(path, limits).shape
        return ClipInfo(kind="image", num_frames=1, fps=0.0, duration_s=0.0, width=width, height=height)
    with open_video(path, container, limits) as (opened, stream):
        line, first, last = _stretch(opened, stream, start_s, end_s, limits)
        _, height, width, _ = pyav_backend.read(opened, stream, line, np.array([first])).shape
        codec, pixels = stream.codec_context.codec.canonical_name, str(stream.codec_context.pix_fmt)
    end = float(line.times[last]) if last < len(line) else float(line.times[-1]) + 1 / line.fps
    return ClipInfo(
        kind="video",
        num_frames=last - first,
        fps=line.fps,
        duration_s=end - float(line.times[first]),
        width=width,
        height=height,
        container=container,
        codec=codec,
        pixels=pixels,
    )


def _known(decoder: str) -> None:
    if decoder not in get_args(Decoder):
        raise UserError(f"no decoder {decoder!r}", "machine.decoder", f"choose one of {', '.join(get_args(Decoder))}")


def _stretch(
    opened: InputContainer, stream: VideoStream, start_s: float | None, end_s: float | None, limits: Limits
) -> tuple[Timeline, int, int]:
    """The timeline of the file and the frames [first, last) of the stretch; the header's duration is checked first."""
    declared_s = declared_seconds(opened, stream)
    check_seconds(min(end_s or declared_s, declared_s) - (start_s or 0.0), limits)
    line = timeline(opened, stream)
    return line, *line.window(start_s, end_s, limits)


def _part(sampled: np.ndarray, frame_bytes: int, part_from: int | None, limits: Limits) -> np.ndarray:
    """The frames of `sampled` that are asked for and may be returned."""
    most = limits.max_decoded_bytes
    taken = sampled if part_from is None else sampled[part_from : part_from + max(most // frame_bytes, 1)]
    if len(taken) * frame_bytes > most:
        raise DecodeFailure("over-limit", f"{len(taken) * frame_bytes} bytes of frames, allowed are {most}")
    return taken


def _clip(
    pixels_NHWC: np.ndarray,
    wanted: np.ndarray,
    taken: np.ndarray,
    first: int,
    num_sampled: int,
    num_frames: int,
    fps: float,
) -> Clip:
    """The distinct decoded frames dealt out to the places that the sampling gave them."""
    _, height, width, _ = pixels_NHWC.shape
    real = taken >= 0
    indices = np.where(real, taken + first, -1)
    if len(taken) != len(wanted) or not np.array_equal(indices, wanted):
        pixels_NHWC = pixels_NHWC[np.searchsorted(wanted, np.where(real, indices, wanted[0]))]
        pixels_NHWC[~real] = 0
    return Clip(
        frames=pixels_NHWC.transpose(0, 3, 1, 2),
        indices=indices,
        num_sampled=num_sampled,
        num_frames=num_frames,
        fps=fps,
        width=width,
        height=height,
    )
