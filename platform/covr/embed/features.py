"""The features table of one encoder, and how its rows are found again.

Layout: `features/<first 16 digits of the encoder's fingerprint>/` holds the growing table and `made.json`, which
says by which sampling and decoder the rows were made, so that a clip's key can be computed without the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.clips.sampling import Sampling
from covr.embed.keys import keys
from covr.errors import UserError
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint

FEATURES = ("pooled", "frames")
"""What can be asked of a video encoder; a side of a joint model writes the one feature that it needs."""


class Features:
    """The vectors that one encoder made, under one storage root."""

    def __init__(self, root: Place, encoder: str) -> None:
        self.root, self.encoder = root, encoder
        self.place = root / "features" / encoder[:16]
        self.store = TableStore(self.place, "features")

    def describe(self, sampling: Sampling, decoder: str) -> None:
        """Record how the rows are made; before the first is written."""
        made = {"encoder": self.encoder, "sampling": asdict(sampling), "decoder": decoder}
        (self.place / "made.json").write_json(made)

    def keys(self, clips: pa.Table) -> pa.Array:
        """The key that each of `clips` (rows of `covr.tables.CLIPS`) has here.

        Raises:
            UserError: nothing was embedded with this encoder.
        """
        made = self.place / "made.json"
        if not made.exists():
            raise UserError("no clip is embedded with this encoder", str(self.place), "run jobs/embed.py first")
        record = made.read_json()
        return keys(clips, self.encoder, Sampling(**record["sampling"]), record["decoder"])

    def done(self, feature: str | None = None) -> set[tuple[str, str]]:
        """The (clip_id, key) that have `feature`; None: any."""
        wanted = None if feature is None else [("feature", "=", feature)]
        rows = self.store.read(["clip_id", "key"], filters=wanted)
        return set(zip(rows["clip_id"].to_pylist(), rows["key"].to_pylist(), strict=True))

    def write(self, rows: pa.Table) -> None:
        """Rows with the columns of the table, as one part named by its keys: the same rows replace themselves."""
        part = rows.select(self.store.schema.names).cast(self.store.schema)
        works = sorted(zip(*(part[name].to_pylist() for name in ("clip_id", "key", "feature")), strict=True))
        self.store.write_part(f"part-{fingerprint(works)}", part)

    def read(self, clip_ids: Sequence[str], feature: str = "pooled") -> np.ndarray:
        """A feature of clips, float32 (N, ...), in the order asked for.

        Of clips with fewer rows of it than others (`frames` of a short clip), the rest is NaN.

        Raises:
            UserError: clips that are not in tables/clips or have no such feature, how many and which.
        """
        wanted = pa.array(list(dict.fromkeys(clip_ids)), pa.string())
        clips = TableStore(self.root / "tables/clips", "clips").require(
            ["clip_id", "sha256", "start_s", "end_s"], made_by="ingest"
        )
        clips = clips.filter(pc.is_in(clips["clip_id"], wanted))
        _all_there(wanted, clips["clip_id"], "tables/clips", "give ids of that table, or run jobs/ingest.py")
        found = dict(self.each(clips, feature))
        fix = "run jobs/embed.py; a clip that it refused is in tables/quarantine with the reason"
        _all_there(wanted, pa.array(list(found), pa.string()), str(self.place), fix)
        if not found:
            return np.zeros((0, 0), np.float32)
        values = np.full(
            (len(clip_ids), *np.max([value.shape for value in found.values()], axis=0)), np.nan, np.float32
        )
        for row, clip_id in enumerate(clip_ids):
            values[row, : len(found[clip_id])] = found[clip_id]
        return values

    def each(self, clips: pa.Table, feature: str) -> Iterator[tuple[str, np.ndarray]]:
        """Those of `clips` (rows of `covr.tables.CLIPS`) that have a feature, with it in its own shape, in no order.

        Raises:
            UserError: nothing was embedded with this encoder.
        """
        key_of = dict(zip(clips["clip_id"].to_pylist(), self.keys(clips).to_pylist(), strict=True))
        rows = (pc.field("feature") == feature) & pc.field("key").isin(pa.array(list(key_of.values()), pa.string()))
        for part in self.store.iter(["clip_id", "key", "value", "shape"], filters=rows):
            for batch in part.to_batches():
                yield from _values(batch, key_of).items()


def _values(rows: pa.RecordBatch, key_of: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Clip -> its value in its shape, of the rows whose key is the clip's present one."""
    flat, ends = np.asarray(rows["value"].flatten()), np.cumsum(pc.list_value_length(rows["value"]).to_numpy())
    columns = zip(rows["clip_id"].to_pylist(), rows["key"].to_pylist(), rows["shape"].to_pylist(), ends, strict=True)
    return {
        clip_id: flat[end - np.prod(shape) : end].reshape(shape)
        for clip_id, key, shape, end in columns
        if key_of.get(clip_id) == key
    }


def _all_there(wanted: pa.Array, found: pa.Array, where: str, fix: str) -> None:
    missing = wanted.filter(pc.invert(pc.is_in(wanted, found))).to_pylist()
    if missing:
        named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(f"{len(missing)} of {len(wanted)} clips are missing ({named})", where, fix)
