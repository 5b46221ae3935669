"""FFmpeg, the codecs that clips come in, and both decoders on a real clip."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from covr.clips import DecodeFailure, Sampling
from covr.clips.decode import Decoder, version
from covr.clips.isolated import IsolatedDecoder
from covr.doctor.finding import Finding
from covr.limits import LIMITS
from covr.report.preview import encode

ENCODERS = ("libx264",)
"""Report and bundled data set write H.264."""
FRAMES = 8


def ffmpeg() -> Iterator[Finding]:
    """The FFmpeg libraries inside PyAV (no `ffmpeg` program is needed)."""
    major = av.library_versions["libavcodec"][0]
    yield Finding(check="FFmpeg", found=f"{av.ffmpeg_version_info} (libavcodec {major}) inside PyAV")


def codecs(names: Sequence[str] = LIMITS.codecs) -> Iterator[Finding]:
    """Whether every codec that is let in can be decoded."""
    missing = [name for name in names if not _has(name, "r")] + [n for n in ENCODERS if not _has(n, "w")]
    if missing:
        fix = "install PyAV's own wheel: pip install --force-reinstall --only-binary :all: av"
        yield Finding(check="codecs", found=f"missing: {', '.join(missing)}", state="fault", fix=fix)
    else:
        yield Finding(check="codecs", found=f"{', '.join(names)}; writes H.264")


def decoders() -> Iterator[Finding]:
    """Each decoder reads a small clip in a process of its own, as jobs and the endpoint do."""
    gray_THWC = np.full((FRAMES, 64, 64, 3), 128, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(encode(gray_THWC, Fraction(8)))
        for name in get_args(Decoder):
            yield _decodes(name, str(path))


def _decodes(name: Decoder, path: str) -> Finding:
    fix = f"run `make install`; until then machine.decoder={next(d for d in get_args(Decoder) if d != name)}"
    try:
        with IsolatedDecoder(name) as decoder:
            clip = decoder.decode(path, Sampling(num_frames=FRAMES))
    except DecodeFailure as failure:
        return Finding(check=f"decoder {name}", found=str(failure), state="fault", fix=fix)
    if abs(float(clip.frames.mean()) - 128) > 3:
        return Finding(check=f"decoder {name}", found="a gray clip is not read as gray", state="fault", fix=fix)
    return Finding(check=f"decoder {name}", found=f"reads H.264 in its own process ({version(name)})")


def _has(name: str, mode: str) -> bool:
    try:
        Codec(name, mode)  # type: ignore[arg-type]
    except UnknownCodecError:
        return False
    return True
