"""A split as corpus, queries and qrels in the layout that mteb and Hugging Face datasets load.

| file | columns |
|---|---|
| `corpus/<split>.parquet` | id, modality, text (captions), video or image (`{bytes: null, path}`) |
| `queries/<split>.parquet` | id, modality, text (the first wording), video or image |
| `qrels/<split>.parquet` | query-id, corpus-id, score (1) |
| `top_ranked/<split>.parquet` | query-id, corpus-ids: the gallery of each query; only where there are several |
"""

from __future__ import annotations

import io
from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from covr.errors import UserError
from covr.storage import Place, TableStore
from covr.tables import right_targets

PARTS = ("corpus", "queries", "qrels", "top_ranked")
_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def export_mteb(root: Place, out: Place, split: str, protocol: str = "corrected") -> dict[str, int]:
    """Write one split of the tables below `root`; the query's own clip is no right answer, nor in its own gallery.

    A corpus of one gallery is shared by all queries and holds their own clips where the gallery does.

    Returns:
        Rows of each part that was written.

    Raises:
        UserError: no tables, no such split, hidden answers, or queries that name no gallery of the protocol.
    """
    stores = {name: TableStore(root / "tables" / name, name) for name in ("clips", "texts", "triplets", "galleries")}
    clips, texts, triplets, galleries = (store.require(made_by="ingest") for store in stores.values())
    triplets = triplets.filter(pc.equal(triplets["split"], split))
    rows = triplets.select(["query_id", "query_clip", "modifications", "galleries"]).to_pylist()
    if not rows:
        raise UserError("no queries in this split", split, "choose a split that was ingested")
    named = [dict(row["galleries"] or ()).get(protocol) for row in rows]
    names = [name for name in named if name is not None]
    if len(names) < len(rows):
        where = f"triplets: query {rows[named.index(None)]['query_id']}"
        raise UserError(f"a query names no gallery {protocol!r}, or its answers are hidden", where, "choose another")
    members: dict[str, list[str]] = defaultdict(list)
    kept = galleries.filter(pc.is_in(galleries["gallery_id"], pa.array(sorted(set(names)))))
    for gallery_id, clip_id in zip(kept["gallery_id"].to_pylist(), kept["clip_id"].to_pylist(), strict=True):
        members[gallery_id].append(clip_id)
    corpus = list(dict.fromkeys(clip for clips in members.values() for clip in clips))
    qrels = [
        {"query-id": row["query_id"], "corpus-id": clip, "score": 1}
        for row, right in zip(rows, right_targets(triplets).to_pylist(), strict=True)
        for clip in right
        if clip != row["query_clip"]
    ]
    if not qrels:
        raise UserError("the answers of this split are hidden", split, "choose a split with answers")
    file_of = {row["clip_id"]: row for row in clips.select(["clip_id", "uri", "kind"]).to_pylist()}
    text_of: dict[str, str] = {}
    for row in texts.select(["owner_id", "text"]).to_pylist():
        text_of.setdefault(row["owner_id"], row["text"])

    def media(clip_id: str) -> dict[str, object]:
        row = file_of[clip_id]
        return {row["kind"]: {"bytes": None, "path": str(root.resolve(row["uri"]))}}

    items = [
        {"id": clip, "text": text_of.get(clip), "modality": file_of[clip]["kind"], **media(clip)} for clip in corpus
    ]
    asked = [
        {
            "id": row["query_id"],
            "text": row["modifications"][0],
            "modality": f"{file_of[row['query_clip']]['kind']},text",
            **media(row["query_clip"]),
        }
        for row in rows
    ]
    medium = [("id", pa.string()), ("text", pa.string()), ("modality", pa.string()), ("video", _FILE), ("image", _FILE)]
    parts = {
        "corpus": pa.Table.from_pylist(items, pa.schema(medium)),
        "queries": pa.Table.from_pylist(asked, pa.schema(medium)),
        "qrels": pa.Table.from_pylist(
            qrels, pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), ("score", pa.int32())])
        ),
    }
    if len(members) > 1:
        ranked = [
            {"query-id": row["query_id"], "corpus-ids": [clip for clip in members[name] if clip != row["query_clip"]]}
            for row, name in zip(rows, names, strict=True)
        ]
        kinds = pa.schema([("query-id", pa.string()), ("corpus-ids", pa.list_(pa.string()))])
        parts["top_ranked"] = pa.Table.from_pylist(ranked, kinds)
    for name, table in parts.items():
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        (out / name / f"{split}.parquet").write_bytes(buffer.getvalue())
    (out / "README.md").write_bytes(_card(out, split, protocol).encode())
    return {name: len(table) for name, table in parts.items()}


def _card(out: Place, split: str, protocol: str) -> str:
    present = [part for part in PARTS if (out / part / f"{split}.parquet").exists()]
    configs = "".join(
        f"- config_name: {part}\n  data_files:\n"
        + "".join(f"  - split: {name.split('.')[0]}\n    path: {part}/{name}\n" for name in (out / part).list())
        for part in present
    )
    return f"---\nconfig_names: [{', '.join(present)}]\nconfigs:\n{configs}---\nGallery: {protocol}.\n"
