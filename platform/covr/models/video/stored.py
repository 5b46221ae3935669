"""An encoder whose network is not at hand: its vectors were computed elsewhere and are only read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from covr.clips.resize import Resize
from covr.clips.sampling import Sampling
from covr.datasets.media import MediaFile, identify
from covr.errors import UserError
from covr.models.video.encoder import VideoEncoder
from covr.storage import Place
from covr.storage.place import fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredConfig:
    """Options of `Stored`."""

    source: str = "aim-12f"
    """What made the vectors; for people."""
    dim: int = 768
    """D, their width."""
    num_frames: int = 12
    """T, the frames of a clip that were read."""
    files: tuple[str, ...] | list[str] = ()
    """Where they are: files and folders as `covr.checkpoints.vectors` reads them; of a clip in several, the first."""
    contents: str = ""
    """Hash of those files, filled in by `pretrain`; the fingerprint of the encoder follows it."""


class Stored(VideoEncoder):
    """Stands where a video encoder is expected, and refuses to see frames."""

    config: Any  # StoredConfig

    def __init__(self, config: StoredConfig) -> None:
        nn.Module.__init__(self)  # no pixels, so none of the base class's buffers
        self.config = config
        self.dim, self.num_frames = config.dim, config.num_frames

    @property
    def sampling(self) -> Sampling:
        return Sampling(kind="uniform", num_frames=self.num_frames)

    @property
    def resize(self) -> Resize:
        raise self._refusal()

    def normalise(self, frames_BTCHW: Tensor) -> Tensor:
        raise self._refusal()

    def forward(self, pixels_BTCHW: Tensor) -> Tensor:
        raise self._refusal()

    def _refusal(self) -> UserError:
        return UserError(
            "this model knows clips by vectors that were computed elsewhere",
            f"model/video=stored, {self.config.source}",
            "give the vectors of these clips, or train with an encoder that is at hand",
        )


def contents(files: Sequence[str]) -> str:
    """Hash of the bytes of files and of all files below folders.

    Raises:
        UserError: none given, or one that is not there.
    """
    if not files:
        raise UserError("where are the vectors?", "model.video.files", "give their files or folders")
    found = []
    for uri in files:
        place = Place(uri)
        if not place.exists():
            raise UserError("no such file or folder of vectors", uri, "correct model.video.files")
        inside = sorted(place.fs.find(place.path))
        paths = [path if place.is_local else place.fs.unstrip_protocol(path) for path in inside]
        marks = identify([MediaFile(path=path, uri=path, stat="") for path in paths], "content")
        found.append(list(zip([path[len(place.path) :] for path in inside], marks, strict=True)))
    return fingerprint(found)
