"""Schemas of the tables that every step passes to the next.

Each schema carries its name and version in its metadata; `check` refuses a table of another name,
version or shape. A column is added by raising the table's version here.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.errors import UserError

VERSION = 1

_STRINGS = pa.map_(pa.string(), pa.string())


def _schema(name: str, fields: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [pa.field(column, kind) for column, kind in fields.items()],
        metadata={"covr.table": name, "covr.version": str(VERSION)},
    )


CLIPS = _schema(
    "clips",
    {
        "clip_id": pa.string(),
        "uri": pa.string(),  # absolute, or relative to the storage root
        "kind": pa.string(),  # video | image
        "start_s": pa.float64(),  # null: from the start
        "end_s": pa.float64(),  # null: to the end
        "label": pa.string(),
        "attributes": _STRINGS,
        "split": pa.string(),  # train | val | test
        "source_video": pa.string(),
        "sha256": pa.string(),  # of the file's bytes, at ingest
        "num_frames": pa.int32(),
        "fps": pa.float64(),
        "width": pa.int32(),
        "height": pa.int32(),
    },
)
TEXTS = _schema(
    "texts",
    {
        "owner_id": pa.string(),  # a clip_id or query_id
        "kind": pa.string(),  # caption | description | narration | rewritten | shared_concept
        "text": pa.string(),
        "writer": pa.string(),
    },
)
TRIPLETS = _schema(
    "triplets",
    {
        "query_id": pa.string(),
        "query_clip": pa.string(),
        "modifications": pa.list_(pa.string()),  # one or several wordings
        "target_clips": pa.list_(pa.string()),  # the answers, the annotated one first; empty: they are hidden
        "target_label": pa.string(),
        "target_grades": pa.list_(pa.float32()),  # one per target clip, right from 1 on; null: all are right
        "target_weights": pa.list_(pa.float32()),  # per-frame scores of the annotated target
        "tags": _STRINGS,
        "galleries": _STRINGS,  # protocol -> gallery_id
        "split": pa.string(),
    },
)
GALLERIES = _schema("galleries", {"gallery_id": pa.string(), "clip_id": pa.string()})
FEATURES = _schema(
    "features",
    {
        "clip_id": pa.string(),
        "key": pa.string(),  # see covr.embed.keys
        "feature": pa.string(),  # pooled | frames | tokens
        "value": pa.list_(pa.float32()),  # raw, never normalised; row-major of `shape`
        "shape": pa.list_(pa.int32()),
        "frame_indices": pa.list_(pa.int32()),
    },
)
RUNS = _schema(
    "runs",
    {
        "query_id": pa.string(),
        "rank": pa.int32(),  # from 1
        "clip_id": pa.string(),
        "score": pa.float32(),
        "stage": pa.string(),
    },
)
SCORES = _schema(
    "scores",
    {
        "row": pa.string(),  # of the comparison, e.g. composed
        "metric": pa.string(),  # of the corrected protocol
        "query_id": pa.string(),
        "cluster": pa.string(),  # queries that rise and fall together: the label pair
        "value": pa.float32(),  # a share; the mean over the queries is the metric
        "queries": pa.string(),  # fingerprint of the queries that were answered
    },
)
QUARANTINE = _schema(
    "quarantine",
    {
        "clip_id": pa.string(),
        "key": pa.string(),  # of the work that was refused (covr.embed.keys); null: refused at ingest
        "uri": pa.string(),
        "stage": pa.string(),
        "reason": pa.string(),  # a short fixed word, e.g. corrupt, empty, not-a-video, no-video-stream, over-limit
        "detail": pa.string(),
        "attempt": pa.int32(),
    },
)

SCHEMAS: dict[str, pa.Schema] = {
    schema.metadata[b"covr.table"].decode(): schema
    for schema in (CLIPS, TEXTS, TRIPLETS, GALLERIES, FEATURES, RUNS, SCORES, QUARANTINE)
}


def from_rows(name: str, rows: list[dict]) -> pa.Table:
    """Rows (dicts; absent keys are null) as a table of the named schema."""
    return pa.Table.from_pylist(rows, schema=SCHEMAS[name])


def right_targets(triplets: pa.Table) -> pa.ListArray:
    """The right answers of each triplet: its target clips, without those of a grade below 1."""
    targets, grades = (triplets[name].combine_chunks() for name in ("target_clips", "target_grades"))
    if grades.null_count == len(grades):
        return targets
    triplet_M = pc.list_parent_indices(targets).to_numpy()
    right_M = np.ones(len(triplet_M), bool)
    right_M[pc.is_valid(grades).to_numpy(zero_copy_only=False)[triplet_M]] = grades.flatten().to_numpy() >= 1
    offsets = np.concatenate([[0], np.cumsum(np.bincount(triplet_M[right_M], minlength=len(targets)))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), targets.flatten().filter(pa.array(right_M)))


def check(table: pa.Table, name: str, where: str) -> pa.Table:
    """Return `table` if it has the named schema of this version.

    Raises:
        UserError: another table, another version, or other columns.
    """
    metadata = table.schema.metadata or {}
    found = (metadata.get(b"covr.table", b"?").decode(), metadata.get(b"covr.version", b"?").decode())
    if found != (name, str(VERSION)):
        raise UserError(
            f"found table {found[0]!r} version {found[1]}, expected {name!r} version {VERSION}",
            where,
            "write it again with this version of covr",
        )
    if not table.schema.equals(SCHEMAS[name]):
        raise UserError(
            f"the columns are not those of table {name!r}", where, "write it again with this version of covr"
        )
    return table
