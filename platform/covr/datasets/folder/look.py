"""Looking a file over: its hash, what it is, the clips cut from it and how they look, what browsers get."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from covr.clips import ClipInfo, DecodeFailure, Sampling
from covr.clips.fetch import on_disk
from covr.clips.isolated import IsolatedDecoder
from covr.clips.playable import plays_in_browsers, rendition
from covr.datasets.folder.near import FRAMES, bits
from covr.limits import JOB_LIMITS
from covr.storage import Place

Stretch = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is done with each file."""

    clip_s: float | None
    """Length of the clips cut from files that name no stretches; None: a file is one clip."""
    stride_s: float | None
    """From the start of one to the next; None: `clip_s`."""
    copy: bool
    """Copy the file's bytes into the storage root."""
    playable: bool
    """Make renditions of what browsers do not play."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A clip: a stretch of the file that decodes, or the reason why it does not."""

    stretch: Stretch
    num_frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    bits: np.ndarray | None = None
    refusal: tuple[str, str] | None = None
    """Reason and detail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What was found out about a file."""

    file: str
    uri: str
    sha256: str = ""
    kind: str = ""
    pieces: tuple[Piece, ...] = ()
    refusal: tuple[str, str] | None = None
    """Of the whole file."""
    not_playable: str | None = None
    """Why there is no rendition, where one was wanted."""


def look(
    root: Place, folder: Place, settings: Settings, files: Sequence[tuple[str, Sequence[Stretch]]]
) -> list[Looked]:
    """Look over files (name below `folder`, stretches asked for); what is to be written is, once."""
    return [_look(root, folder / name, name, settings, stretches) for name, stretches in files]


def _look(root: Place, place: Place, name: str, settings: Settings, asked: Sequence[Stretch]) -> Looked:
    decoder = _decoder()
    try:
        with on_disk(place) as path:
            info = decoder.probe(str(path))
            sha256 = Place(path).sha256()
            stretches = asked or cut(info, settings)
            pieces = tuple(_piece(decoder, str(path), stretch) for stretch in stretches)
            good = any(piece.refusal is None for piece in pieces)
            uri = _copied(root, path, name, sha256) if settings.copy and good else str(place)
            problem = None
            if settings.playable and good and not plays_in_browsers(info, name):
                problem = _render(decoder, path, rendition(root, sha256), info)
    except DecodeFailure as failure:
        return Looked(file=name, uri=str(place), refusal=(failure.reason, failure.detail))
    return Looked(file=name, uri=uri, sha256=sha256, kind=info.kind, pieces=pieces, not_playable=problem)


def cut(info: ClipInfo, settings: Settings) -> list[Stretch]:
    """The stretches of a file: all of it, or clips of `clip_s` whose last one takes what is left if that is little."""
    length, last = settings.clip_s, info.duration_s
    if length is None or last < 1.5 * length:
        return [(None, None)]
    step = settings.stride_s or length
    starts = [step * n for n in range(int((last - length) // step) + 1)]
    stretches: list[Stretch] = [(round(start, 3), round(start + length, 3)) for start in starts]
    rest = last - (starts[-1] + length)
    if rest >= 0.5 * length:
        stretches.append((round(starts[-1] + step, 3), None))
    elif rest > 0:
        stretches[-1] = (stretches[-1][0], None)
    return stretches


def _piece(decoder: IsolatedDecoder, path: str, stretch: Stretch) -> Piece:
    try:
        clip = decoder.decode(path, Sampling(num_frames=FRAMES), *stretch)
    except DecodeFailure as failure:
        return Piece(stretch=stretch, refusal=(failure.reason, failure.detail))
    return Piece(
        stretch=stretch,
        num_frames=clip.num_frames,
        fps=clip.fps,
        width=clip.width,
        height=clip.height,
        bits=bits(clip.frames),
    )


def _copied(root: Place, path: Path, name: str, sha256: str) -> str:
    """The relative URI of the copy in the storage root, made unless it is there."""
    uri = f"media/files/{sha256}{PurePosixPath(name).suffix.lower()}"
    if not (root / uri).exists():
        (root / uri).write_bytes(path.read_bytes())
    return uri


def _render(decoder: IsolatedDecoder, path: Path, target: Place, info: ClipInfo) -> str | None:
    """Write the rendition unless it is there; why not, where that failed."""
    if target.exists():
        return None
    with tempfile.TemporaryDirectory(prefix="covr-rendition-") as folder:
        made = Path(folder) / "made.mp4"
        try:
            decoder.transcode(str(path), str(made), info.duration_s)
        except DecodeFailure as failure:  # clips before the damage are good all the same
            return str(failure)
        target.write_bytes(made.read_bytes())
    return None


@lru_cache(maxsize=1)
def _decoder() -> IsolatedDecoder:
    """One process for all tasks that this worker runs."""
    return IsolatedDecoder(limits=JOB_LIMITS)
