"""Decoded frames kept on disk, so that training decodes each clip once: the decode stage of embed, and no encoder.

Layout of `frames/<fingerprint>/`: parts, each `part-<hash>.u8` (the frames of its clips one after the other, uint8)
beside `part-<hash>.parquet` (which clip lies where), and `index.parquet`, the clips of the last build. A part counts
once its Parquet file, written last, is in place.

    F frames of a clip  h, w as resized
"""

from __future__ import annotations

import functools
import io
import tempfile
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig

from covr.clips.decode import Decoder, version
from covr.clips.sampling import Sampling
from covr.embed.keys import keys
from covr.embed.pipeline import keep, stream, todo
from covr.embed.quarantine import Quarantine
from covr.errors import UserError
from covr.storage import Place
from covr.storage.place import fingerprint

if TYPE_CHECKING:  # importing covr.models takes seconds, and no worker that decodes needs it
    from covr.models.video import VideoEncoder

_INDEX = pa.schema(
    [
        ("clip_id", pa.string()),
        ("key", pa.string()),
        ("part", pa.string()),
        ("offset", pa.int64()),  # bytes
        ("shape", pa.list_(pa.int32())),  # (F, 3, h, w)
    ]
)
_PART_BYTES = 64 << 20
_BLOCK_BYTES = 16 << 20


class FrameCache:
    """Resized uint8 frames of many clips; reading maps the files, so that several processes share one copy.

    Of a cache on an object store each process maps a copy of the parts that it reads, on its machine's disk; the
    system takes that back when the process ends, however it ends.

    Raises:
        UserError: nothing was built here, or a clip is not in the cache.
    """

    def __init__(self, place: Place) -> None:
        index = place / "index.parquet"
        if not index.exists():
            raise UserError("no frame cache", str(place), "build it first")
        self.place = place
        self._rows = {row["clip_id"]: row for row in _read(index).to_pylist()}
        self._part = functools.cache(self._map)

    @classmethod
    def open(cls, place: Place) -> FrameCache:
        """The cache that `build_frame_cache` wrote at `place`."""
        return cls(place)

    def __reduce__(self) -> tuple[type[FrameCache], tuple[Place]]:
        return FrameCache, (self.place,)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def clip_ids(self) -> list[str]:
        """The clips of the last build that were not refused, sorted."""
        return sorted(self._rows)

    def frames(self, clip_id: str) -> np.ndarray:
        """The frames of a clip, read-only uint8 RGB (F, 3, h, w)."""
        row = self._rows.get(clip_id)
        if row is None:
            raise UserError(
                "a clip is not in the frame cache",
                f"{clip_id} in {self.place}",
                "see tables/quarantine for whether its file was refused",
            )
        size = int(np.prod(row["shape"]))
        return self._part(row["part"])[row["offset"] : row["offset"] + size].reshape(row["shape"])

    def _map(self, part: str) -> np.ndarray:
        place = self.place / f"{part}.u8"
        if place.is_local:
            return np.memmap(place.local(), np.uint8, mode="r")
        with tempfile.NamedTemporaryFile(prefix="covr-frames-") as copy:  # gone by name at once, in fact with the map
            place.fs.get_file(place.path, copy.name)
            return np.memmap(copy.name, np.uint8, mode="r")


def build_frame_cache(
    root: Place, clips: pa.Table, encoder: VideoEncoder, decoder: Decoder, machine: DictConfig, max_frames: int
) -> FrameCache:
    """Decode the clips that the cache lacks, resized as `encoder` reads them, and open it.

    Args:
        clips: rows of `covr.tables.CLIPS`; the cache then holds these.
        max_frames: kept a clip; all of a shorter one, evenly spaced ones of a longer one.

    Raises:
        UserError: the plan does not fit, or more clips are refused than `max_bad_fraction`.
    """
    sampling = Sampling(kind="all", num_frames=max_frames)
    pixels, frame_bytes = _pixels(encoder)
    place = root / "frames" / fingerprint(pixels, asdict(sampling), version(decoder))[:16]
    quarantine = Quarantine(root, "frames")
    clip_keys = keys(clips, pixels, sampling, version(decoder))
    parts = _parts(place)
    have = set(zip(parts["clip_id"].to_pylist(), parts["key"].to_pylist(), strict=True))
    rows, reasons = todo(clips, clip_keys, {"frames": have}, quarantine)
    keep(
        stream(
            rows,
            root,
            sampling=sampling,
            resize=encoder.resize,
            machine=machine,
            block_clips=max(1, min(machine.batch_clips, _BLOCK_BYTES // (max_frames * frame_bytes))),
        ),
        functools.partial(_write_part, place),
        quarantine,
        reasons=reasons,
        label="decode",
        total=len(set(clips["clip_id"].to_pylist())),
        remaining=len(rows),
        max_bad_fraction=machine.max_bad_fraction,
        part_bytes=_PART_BYTES,
    )
    _publish(place, clips, clip_keys)
    return FrameCache.open(place)


def _pixels(encoder: VideoEncoder) -> tuple[str, int]:
    """What decides the resized pixels, and their number of bytes a frame.

    Told from what `resize` does to test pictures (of another shape, and of twice the size): the encoder's weights,
    which change with every training, have no part in it.
    """
    draw = np.random.default_rng(0)
    odd = encoder.resize(torch.from_numpy(draw.integers(0, 256, (1, 1, 3, 61, 83), dtype=np.uint8)))
    height, width = odd.shape[-2:]
    double = encoder.resize(torch.from_numpy(draw.integers(0, 256, (1, 1, 3, 2 * height, 2 * width), dtype=np.uint8)))
    resized = [picture.contiguous().numpy().tobytes().hex() for picture in (odd, double)]
    return fingerprint(height, width, *resized), 3 * height * width


def _parts(place: Place) -> pa.Table:
    """The rows of all parts that count."""
    names = [name for name in place.list() if name.startswith("part-") and name.endswith(".parquet")]
    return pa.concat_tables([_INDEX.empty_table(), *(_read(place / name) for name in names)])


def _write_part(place: Place, rows: pa.Table) -> None:
    """DECODED rows as one part."""
    part = f"part-{fingerprint(sorted(zip(rows['clip_id'].to_pylist(), rows['key'].to_pylist(), strict=True)))}"
    (place / f"{part}.u8").write_bytes(b"".join(frames.as_py() for frames in rows["frames"]))
    sizes = pc.binary_length(rows["frames"]).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    table = pa.table(
        [rows["clip_id"], rows["key"], pa.array([part] * len(rows)), pa.array(offsets), rows["shape"]], schema=_INDEX
    )
    _write(place / f"{part}.parquet", table)


def _publish(place: Place, clips: pa.Table, clip_keys: pa.Array) -> None:
    """Make the rows of these clips, by their present keys, what `FrameCache` shows."""
    key_of = dict(zip(clips["clip_id"].to_pylist(), clip_keys.to_pylist(), strict=True))
    rows = [row for row in _parts(place).to_pylist() if key_of.get(row["clip_id"]) == row["key"]]
    _write(place / "index.parquet", pa.Table.from_pylist(rows, _INDEX))


def _read(place: Place) -> pa.Table:
    return pq.read_table(io.BytesIO(place.read_bytes()))


def _write(place: Place, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    place.write_bytes(buffer.getvalue())
