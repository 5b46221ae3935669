"""Rows of a benchmark on their way to tables: gathered in chunks, what has no file set aside and counted."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from covr import tables
from covr.datasets.dataset import SPLITS, Dataset
from covr.datasets.media import SUFFIXES, Identity, Media, MediaFile, identify
from covr.storage import Place

CHUNK = 50_000
"""Rows that are held as Python objects before they become Arrow columns."""


class Rows:
    """The rows of one data set, in the order in which they are given.

    A clip whose file is missing is left out of clips and galleries; so is a query whose own clip or annotated target
    is missing, and any other target of it. All of them become quarantine rows and are counted by split.

    Args:
        name: of the data set; query ids start with it.
        root: the data root, which paths start from.
        media: where files are looked for; None: there are none, and every clip is taken as given.
        kind: of clips without a file.
    """

    def __init__(self, name: str, root: Place, media: Media | None, kind: str = "video") -> None:
        self.name, self.root, self.media, self.kind = name, root, media, kind
        self._notes: dict[str, None] = {}
        self._clips: dict[str, dict[str, Any]] = {}
        self._files: dict[str, MediaFile] = {}
        self._missing: dict[str, str] = {}
        self._texts: dict[tuple[str, str], list[str]] = {}
        self._galleries: dict[str, list[str]] = {}
        self._named: dict[str, set[str]] = defaultdict(set)  # clips by split
        self._queries: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # annotated and kept, by split
        self._chunks: dict[str, list[pa.Table]] = {"triplets": [], "quarantine": []}
        self._waiting: dict[str, list[dict[str, Any]]] = {"triplets": [], "quarantine": []}

    def clip(self, clip_id: str, split: str, path: str, **columns: Any) -> str:
        """Name a clip, once or often; columns given later fill those that were not.

        A clip of several splits belongs to the last of train, val and test, so that stage 1 sees no test clip.

        Args:
            path: of its file below the data root, without the suffix.
        """
        known = self._clips.get(clip_id)
        if known is None:
            self._named[split].add(clip_id)
            self._clips[clip_id] = {"split": split, "uri": str(self.root / path), **columns}
            if self.media is not None:
                found = self.media.find(path)
                if found is None:
                    self._missing[clip_id] = path
                else:
                    self._files[clip_id] = found
            return clip_id
        self._named[split].add(clip_id)
        if SPLITS.index(split) > SPLITS.index(known["split"]):
            known["split"] = split
        for column, value in columns.items():
            if known.get(column) is None:
                known[column] = value
        return clip_id

    @property
    def clip_ids(self) -> list[str]:
        """The clips named so far, in the order in which they were."""
        return list(self._clips)

    def note(self, text: str) -> None:
        """What a reader of the numbers has to know; it goes with the coverage."""
        self._notes[text] = None

    def text(self, owner_id: str, kind: str, text: str, query_id: str | None = None) -> None:
        """A text about a clip, each different one kept; a query's that is not the clip's first is the query's own."""
        if not text.strip():
            return
        known = self._texts.setdefault((owner_id, kind), [text])
        if query_id is not None and known[0] != text:
            self._texts[query_id, kind] = [text]
        elif text not in known:
            known.append(text)

    def query_id(self, split: str, published_id: object) -> str:
        return f"{self.name}-{split}-{published_id}"

    def query(
        self,
        split: str,
        published_id: object,
        clip: str,
        wordings: Sequence[str],
        targets: Iterable[str],
        **columns: Any,
    ) -> None:
        """One composed query; its clips are named before it.

        Args:
            targets: the annotated one first; empty where the answers are hidden.
            columns: others of `covr.tables.TRIPLETS`.
        """
        query_id, targets = self.query_id(split, published_id), list(dict.fromkeys(targets))
        self._queries[split][0] += 1
        lacking = next((one for one in (clip, *targets[:1]) if one in self._missing), None)
        if lacking is not None:
            self._refuse(lacking, "query-without-file", f"query {query_id} needs it")
            return
        self._queries[split][1] += 1
        if any(target in self._missing for target in targets):
            kept = [position for position, target in enumerate(targets) if target not in self._missing]
            targets = [targets[position] for position in kept]
            if columns.get("target_grades") is not None:
                columns["target_grades"] = [columns["target_grades"][position] for position in kept]
        row = {"query_id": query_id, "query_clip": clip, "modifications": wordings, "target_clips": targets}
        self._add("triplets", {**row, "split": split, **columns})

    def gallery(self, gallery_id: str, clips: Iterable[str]) -> str:
        """The rows of a gallery in their order, duplicates kept; given once."""
        self._galleries[gallery_id] = list(clips)
        return gallery_id

    def _refuse(self, clip_id: str, reason: str, detail: str) -> None:
        row = {"clip_id": clip_id, "uri": self._missing[clip_id], "stage": "ingest", "attempt": 1}
        self._add("quarantine", {**row, "reason": reason, "detail": detail})

    def _add(self, table: str, row: dict[str, Any]) -> None:
        waiting = self._waiting[table]
        waiting.append(row)
        if len(waiting) >= CHUNK:
            self._chunks[table].append(tables.from_rows(table, waiting))
            waiting.clear()

    @property
    def missing(self) -> list[tuple[str, str]]:
        """The clips without a file and where it was looked for, sorted."""
        return sorted(self._missing.items())

    def coverage(self) -> dict[str, Any]:
        """By split, clips named and present, queries annotated and kept; `share`: the least of their ratios.

        `notes`: what else to know, clips of train that a later split names as well among it.
        """
        splits, share = {}, 1.0
        for split in (split for split in SPLITS if self._named[split]):
            clips, (queries, kept) = self._named[split], self._queries[split]
            present = len(clips) - len(clips & self._missing.keys())
            splits[split] = {"clips": len(clips), "present": present, "queries": queries, "kept": kept}
            share = min(share, present / len(clips), kept / max(queries, 1))
        return {"share": share, "files": self.media is not None, "splits": splits, "notes": self.notes}

    @property
    def notes(self) -> list[str]:
        shared = {split: len(self._named["train"] & self._named[split]) for split in SPLITS[1:]}
        told = "clips of train are in {} too: stage 1 leaves them out, queries of train do not"
        return [*self._notes, *(f"{count} {told.format(split)}" for split, count in shared.items() if count)]

    def dataset(self, identity: Identity) -> Dataset:
        """The tables."""
        for clip_id in sorted(self._missing):
            self._refuse(clip_id, "missing", "the annotations name it; no such file")
        return Dataset(
            clips=self._clip_table(identity),
            texts=self._text_table(),
            triplets=self._gathered("triplets"),
            galleries=self._gallery_table(),
            quarantine=self._gathered("quarantine"),
            coverage=self.coverage(),
        )

    def _gathered(self, table: str) -> pa.Table:
        return pa.concat_tables([*self._chunks[table], tables.from_rows(table, self._waiting[table])])

    def _clip_table(self, identity: Identity) -> pa.Table:
        present = [clip_id for clip_id in self._clips if clip_id not in self._missing]
        if self.media is None:  # without its bytes, a clip is what the data set calls it
            hashes = [hashlib.sha256(f"{self.name} {clip_id}".encode()).hexdigest() for clip_id in present]
        else:
            hashes = identify([self._files[clip_id] for clip_id in present], identity)
        rows = []
        for clip_id, sha256 in zip(present, hashes, strict=True):
            file = self._files.get(clip_id)
            uri = file.uri if file else self._clips[clip_id]["uri"]
            kind = SUFFIXES["." + uri.rsplit(".", 1)[-1].lower()] if file else self.kind
            own = {"clip_id": clip_id, "uri": uri, "kind": kind, "sha256": sha256}
            rows.append({"source_video": clip_id, **self._clips[clip_id], **own})
        return tables.from_rows("clips", rows)

    def _text_table(self) -> pa.Table:
        kept = [(*key, text) for key, texts in self._texts.items() if key[0] not in self._missing for text in texts]
        owners, kinds, texts = zip(*kept, strict=True) if kept else ((), (), ())
        return pa.table([owners, kinds, texts, [self.name] * len(kept)], schema=tables.TEXTS)

    def _gallery_table(self) -> pa.Table:
        parts = [tables.GALLERIES.empty_table()]
        for gallery_id, clips in self._galleries.items():
            kept = pa.array([clip_id for clip_id in clips if clip_id not in self._missing], pa.string())
            parts.append(pa.table([pa.repeat(gallery_id, len(kept)), kept], schema=tables.GALLERIES))
        return pa.concat_tables(parts)
