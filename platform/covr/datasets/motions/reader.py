"""The reader of `motions`: draws the clips, renders those that are not there yet, composes the queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, get_args

import pyarrow as pa

from covr import tables
from covr.cluster.tasks import map_batches
from covr.datasets.dataset import Dataset
from covr.datasets.motions.clip import FPS, GENERATOR, SIZE, Clip, draw
from covr.datasets.motions.composed import COMPOSER, SPLITS, compose
from covr.datasets.motions.describe import WRITER, describe
from covr.datasets.motions.render import encode, frames
from covr.datasets.motions.sizes import SIZES
from covr.errors import UserError
from covr.storage import Place

SizeName = Literal["tiny", "small", "full"]
TASK_CLIPS = 24
"""Clips that one Ray task renders, under a second of work each dozen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Motions:
    """Clips of back flips, cartwheels, rolls, spin kicks and jumps on floor, beam and pool, and queries over them.

    The same size and seed give the same bytes and the same rows; another seed gives other clips throughout.
    """

    on_ray: ClassVar[bool] = True

    name: str = "motions"
    size: SizeName = "small"
    """tiny (tests), small (demo) or full."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size not in get_args(SizeName):
            raise UserError(f"no size {self.size!r}", "data.size", f"choose one of {', '.join(get_args(SizeName))}")

    @property
    def version(self) -> str:
        return f"{GENERATOR}.{COMPOSER}.{WRITER}"

    def read(self, root: Place) -> Dataset:
        """Render what is missing below `root`/media, on the Ray cluster that this process has joined."""
        size = SIZES[self.size]
        drawn = [
            (split, draw(label, split, number, self.seed))
            for split, num in zip(SPLITS, (size.train, size.val, size.test), strict=True)
            for label in size.labels
            for number in range(num)
        ]
        uris = [f"media/{split}/{clip.clip_id}.mp4" for split, clip in drawn]
        files = [(clip, uri) for (_, clip), uri in zip(drawn, uris, strict=True)]
        hashes = map_batches(partial(_render, root), files, batch=TASK_CLIPS, label="rendering")
        clips = [
            {
                "clip_id": clip.clip_id,
                "uri": uri,
                "kind": "video",
                "label": str(clip.label),
                "attributes": clip.label.attributes(),
                "split": split,
                "source_video": clip.clip_id,
                "sha256": sha256,
                "num_frames": clip.num_frames,
                "fps": float(FPS),
                "width": SIZE,
                "height": SIZE,
            }
            for (split, clip), uri, sha256 in zip(drawn, uris, hashes, strict=True)
        ]
        composed = compose(clips, size, self.seed)
        texts = [
            {"owner_id": clip.clip_id, "kind": kind, "text": text, "writer": "motions"}
            for _, clip in drawn
            for kind, text in (
                ("caption", str(clip.label)),
                ("description", describe(clip.label, clip.clip_id, self.seed)),
            )
        ]
        return Dataset(
            clips=tables.from_rows("clips", clips),
            texts=tables.from_rows("texts", texts),
            triplets=tables.from_rows("triplets", composed.triplets),
            galleries=tables.from_rows("galleries", composed.galleries),
            quarantine=pa.Table.from_pylist([], schema=tables.QUARANTINE),
        )


def _render(root: Place, files: Sequence[tuple[Clip, str]]) -> list[str]:
    """Hashes of the clips' files, in order; those that are not there yet are written, each whole or not at all."""
    hashes = []
    for clip, uri in files:
        place = root / uri
        if not place.exists():
            data = encode(frames(clip))
            place.write_bytes(data)
            hashes.append(hashlib.sha256(data).hexdigest())
        else:
            hashes.append(place.sha256())
    return hashes
