"""What every reader yields: the tables of one data set, and the rules that they obey."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from covr import tables
from covr.errors import UserError
from covr.storage import Place

SPLITS = ("train", "val", "test")
TABLES = ("clips", "texts", "triplets", "galleries", "quarantine")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The tables of one data set, as `covr.tables` defines them."""

    clips: pa.Table
    texts: pa.Table
    triplets: pa.Table
    galleries: pa.Table
    quarantine: pa.Table
    coverage: Mapping[str, Any] = field(default_factory=dict)
    """How much of what the annotations name is there (`covr.datasets.rows.Rows.coverage`); empty: all of it."""

    def __post_init__(self) -> None:
        for name in TABLES:
            tables.check(getattr(self, name), name, f"reader, table {name}")

    def fingerprint(self) -> str:
        """Hash of all rows; where the clips' files lie does not enter it. 32 hexadecimal digits."""
        digest = hashlib.sha256()
        for name in TABLES:
            table = getattr(self, name)
            columns = [column for column in table.column_names if column != "uri"]
            for batch in table.select(columns).combine_chunks().to_batches(max_chunksize=100_000):
                digest.update(batch.serialize())
        return digest.hexdigest()[:32]


class Reader(Protocol):
    """Reads a data set: files below `root` may be written, tables are returned."""

    name: str
    on_ray: bool
    """Whether `read` runs tasks on the cluster that this process has joined."""

    @property
    def version(self) -> str:
        """Changes when the same options give other rows, so that a data set read before is read again."""
        ...

    def read(self, root: Place) -> Dataset: ...


def validate(dataset: Dataset) -> None:
    """Check what the steps after ingest rely on.

    A query may list its own clip among its targets, as two published sets do: the corrected protocol takes it out.
    Where the answers of a split are hidden, they are hidden for all of its queries.

    Raises:
        UserError: naming table, row and field of the first fault.
    """
    clips, triplets, galleries = dataset.clips, dataset.triplets, dataset.galleries
    known = pc.unique(clips["clip_id"].combine_chunks())
    _unique("clips", "clip_id", clips["clip_id"])
    _unique("triplets", "query_id", triplets["query_id"])
    for table in (clips, triplets):
        odd = set(pc.unique(table["split"]).to_pylist()) - set(SPLITS)
        if odd:
            raise UserError(f"unknown split {sorted(map(str, odd))[0]!r}", "split", f"use one of {', '.join(SPLITS)}")
    if (at := _first(pc.invert(pc.is_in(galleries["clip_id"], known)))) is not None:
        row = galleries.slice(at, 1).to_pylist()[0]
        raise UserError(
            f"gallery {row['gallery_id']!r} holds an unknown clip", row["clip_id"], "list the clip in the clips table"
        )
    _triplets(triplets, known, pc.unique(galleries["gallery_id"].combine_chunks()))
    _hidden(triplets)


def _triplets(triplets: pa.Table, clips: pa.Array, galleries: pa.Array) -> None:
    for chunk in triplets.to_batches():
        targets = chunk["target_clips"]
        owners = pc.list_parent_indices(targets)
        for column, rows in ((chunk["query_clip"], None), (targets.flatten(), owners)):
            if (at := _first(pc.invert(pc.is_in(column, clips)))) is not None:
                where = _where(chunk, at if rows is None else rows[at].as_py())
                raise UserError(f"unknown clip {column[at].as_py()!r}", where, "list the clip in the clips table")
        if (at := _first(pc.equal(pc.fill_null(pc.list_value_length(chunk["modifications"]), 0), 0))) is not None:
            raise UserError("a query needs a modification", _where(chunk, at), "give at least one")
        pairs = chunk["galleries"].cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])))
        named = pairs.flatten()
        if (at := _first(pc.invert(pc.is_in(named.field("value"), galleries)))) is not None:
            protocol, gallery = named[at].as_py().values()
            where = _where(chunk, pc.list_parent_indices(pairs)[at].as_py())
            raise UserError(f"unknown gallery {gallery!r} of protocol {protocol!r}", where, "list its clips")


def _hidden(triplets: pa.Table) -> None:
    empty = pc.equal(pc.list_value_length(triplets["target_clips"]), 0)
    for split in pc.unique(triplets["split"]).to_pylist():
        chosen = pc.equal(triplets["split"], split)
        hidden = triplets["query_id"].filter(pc.and_(chosen, empty))
        if 0 < len(hidden) < pc.sum(chosen).as_py():
            where = f"triplets, query_id {hidden[0].as_py()}"
            raise UserError("a query needs a target, as the others of its split have", where, "give at least one")


def _first(mask: pa.Array | pa.ChunkedArray) -> int | None:
    """Where `mask` is first true or null."""
    at = pc.index(pc.fill_null(mask, True), True).as_py()
    return None if at < 0 else at


def _where(chunk: pa.RecordBatch, row: int) -> str:
    return f"triplets, query_id {chunk['query_id'][row].as_py()}"


def _unique(table: str, column: str, values: pa.ChunkedArray) -> None:
    if values.null_count or len(pc.unique(values)) != len(values):
        counted = pc.value_counts(values.combine_chunks())
        pairs = [(each["values"], each["counts"]) for each in counted.to_pylist()]
        value, count = max(pairs, key=lambda pair: (pair[0] is None, pair[1]))
        raise UserError(f"{column} {value!r} stands in {count} rows", table, "make it unique")
