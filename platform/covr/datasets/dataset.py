"""What every reader yields: the tables of one data set, and the rules that they obey."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Protocol

import pyarrow as pa

from covr import tables
from covr.errors import UserError
from covr.storage import Place

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The tables of one data set, as `covr.tables` defines them."""

    clips: pa.Table
    texts: pa.Table
    triplets: pa.Table
    galleries: pa.Table
    quarantine: pa.Table

    def __post_init__(self) -> None:
        for field in fields(self):
            tables.check(getattr(self, field.name), field.name, f"reader, table {field.name}")


class Reader(Protocol):
    """Reads a data set: files below `root` may be written, tables are returned."""

    name: str

    @property
    def version(self) -> str:
        """Changes when the same options give other rows, so that a data set read before is read again."""
        ...

    def read(self, root: Place) -> Dataset: ...


def validate(dataset: Dataset) -> None:
    """Check what the steps after ingest rely on.

    Raises:
        UserError: naming table, row and field of the first fault.
    """
    clips = dataset.clips["clip_id"].to_pylist()
    known = set(clips)
    _unique("clips", "clip_id", clips)
    _unique("triplets", "query_id", dataset.triplets["query_id"].to_pylist())
    galleries = set(dataset.galleries["gallery_id"].to_pylist())
    for table in (dataset.clips, dataset.triplets):
        odd = set(table["split"].to_pylist()) - set(SPLITS)
        if odd:
            raise UserError(f"unknown split {sorted(odd)[0]!r}", "split", f"use one of {', '.join(SPLITS)}")
    for gallery, clip in zip(*(dataset.galleries[c].to_pylist() for c in ("gallery_id", "clip_id")), strict=True):
        if clip not in known:
            raise UserError(f"gallery {gallery!r} holds an unknown clip", clip, "list the clip in the clips table")
    for row in dataset.triplets.select(
        ["query_id", "query_clip", "target_clips", "modifications", "galleries"]
    ).to_pylist():
        where = f"triplets, query_id {row['query_id']}"
        missing = [clip for clip in (row["query_clip"], *row["target_clips"]) if clip not in known]
        if missing:
            raise UserError(f"unknown clip {missing[0]!r}", where, "list the clip in the clips table")
        if not row["target_clips"] or not row["modifications"]:
            raise UserError("a query needs a target and a modification", where, "give at least one of each")
        if row["query_clip"] in row["target_clips"]:
            raise UserError("the query clip is among its own targets", where, "take it out of target_clips")
        for protocol, gallery in row["galleries"]:
            if gallery not in galleries:
                raise UserError(f"unknown gallery {gallery!r} of protocol {protocol!r}", where, "list its clips")


def _unique(table: str, column: str, values: list[str]) -> None:
    value, count = Counter(values).most_common(1)[0] if values else ("", 1)
    if count > 1:
        raise UserError(f"{column} {value!r} stands in {count} rows", table, "make it unique")
