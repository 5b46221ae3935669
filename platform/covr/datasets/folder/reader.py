"""The reader of `folder`: files looked over, clips cut, splits without leakage, queries from labels or triplets.csv."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from covr import tables
from covr.cluster.tasks import map_batches
from covr.datasets.dataset import SPLITS, Dataset
from covr.datasets.folder.composed import Asking, compose
from covr.datasets.folder.csv_file import parse
from covr.datasets.folder.leakage import split_clips
from covr.datasets.folder.listing import (
    LABELS,
    TRIPLETS,
    VIDEOS,
    Entry,
    Files,
    Listing,
    clip_id,
    list_files,
    read_listing,
)
from covr.datasets.folder.look import Looked, Piece, Settings, look
from covr.datasets.folder.triplets_file import Asked, read_triplets
from covr.errors import UserError
from covr.report.console import say
from covr.storage import Place
from covr.storage.place import fingerprint
from covr.triplets.rows import galleries

READER = 2
"""Raised when the same folder and options give other rows."""
_TASK_FILES = 4
_TOLD = "ingest"


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """Videos below a folder, with labels.csv, segments.csv or triplets.csv beside them, or without any of these.

    Without labels and triplets every clip is of the test split and no query is made: an index to be searched.
    """

    on_ray: ClassVar[bool] = True
    root: str | None = None
    """The folder: a path, s3:// or gs://."""
    name: str = "folder"
    clip_s: float | None = None
    """Length of the clips that files without stretches of their own are cut into; None: a file is a clip."""
    stride_s: float | None = None
    """From the start of one such clip to the next; None: `clip_s`."""
    shares: Sequence[float] = (0.7, 0.1, 0.2)
    """Of each label's source videos for train, val and test."""
    near_duplicates: float = 0.05
    """Clips whose hashes differ in at most this share of bits stay in one split."""
    wordings: int = 4
    max_pairs: int = 2000
    queries_per_pair: int = 10
    copy: bool | Literal["auto"] = "auto"
    """Whether files are copied into the storage root; auto: where the root is on an object store and they are not."""
    playable: bool = True
    """Make renditions of what browsers do not play."""
    max_bad_fraction: float = 0.1
    """Share of files or clips that may be refused."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.root:
            raise UserError("no folder is given", "data.root", "give data.root=DIR, a folder of videos")
        wrong = {
            "clip_s": self.clip_s is not None and self.clip_s <= 0,
            "stride_s": self.stride_s is not None and (self.clip_s is None or self.stride_s <= 0),
            "shares": len(self.shares) != len(SPLITS) or min(self.shares) <= 0,
            "near_duplicates": not 0 <= self.near_duplicates < 0.5,
            "wordings": not 1 <= self.wordings <= 12,
            "max_pairs": self.max_pairs < 1,
            "queries_per_pair": self.queries_per_pair < 1,
            "copy": self.copy not in (True, False, "auto"),
        }
        for option in (option for option, is_wrong in wrong.items() if is_wrong):
            value = getattr(self, option)
            raise UserError("a value out of range", f"data.{option}={value}", "see config/data/folder.yaml")

    @property
    def version(self) -> str:
        """Of the folder's videos and CSV files too, by names, sizes and times of change."""
        folder = self._folder()
        stamps = {
            name: (entry["size"], str(entry.get("mtime") or entry.get("ETag") or entry.get("updated")))
            for name, entry in list_files(folder).items()
            if name.lower().endswith((*VIDEOS, ".csv"))
        }
        return fingerprint(READER, sorted((name, *stamp) for name, stamp in stamps.items()))

    def read(self, root: Place) -> Dataset:
        """Look over the folder's files, on the Ray cluster that this process has joined.

        Raises:
            UserError: nothing decodes, a CSV file is wrong, or the clips do not suffice for what is asked of them.
        """
        folder = self._folder()
        files = Files(list(list_files(folder, leave_out=root)))
        listing = read_listing(folder, files)
        own = (
            parse((folder / TRIPLETS).read_bytes(), TRIPLETS, required=["query", "modification", "target"])
            if (TRIPLETS in files.names)
            else None
        )
        entries = listing.entries if listing else [Entry(file=name) for name in files.videos]
        if not entries and not (listing and listing.missing):
            fix = f"give a folder with files that end in {', '.join(VIDEOS[:6])}, ..."
            raise UserError("no video files there", str(folder), fix)
        clips, hashes, quarantine = self._clips(root, folder, entries)
        quarantine += _unread(listing)
        self._check(clips, quarantine, str(folder))
        attributes = _with_labels(clips, listing.attributes if listing else [])
        labelled = any(clip["label"] is not None for clip in clips)

        asked: list[Asked] = []
        if own is not None:
            known = {clip["clip_id"] for clip in clips}
            ids = {name: clip_id(name, None, None) for name in files.names}
            asked, lacking = read_triplets(own, partial(_named, known, files, ids), known)
            quarantine += [
                _refused(name, name, "missing", f"{where}: no such clip was read") for name, where in lacking
            ]
            if not asked:
                raise UserError("no triplet has both its clips", TRIPLETS, "name clips of the folder that decode")
        if own is None and not labelled:
            split = dict.fromkeys((clip["clip_id"] for clip in clips), "test")
        else:
            split = split_clips(clips, hashes, asked, self.shares, self.near_duplicates, self.seed)
        for clip in clips:
            clip["split"] = split[clip["clip_id"]]
        if own is not None:
            triplets = [each.row(split[each.query]) for each in asked]
            _check_asked(triplets)
        elif labelled:
            asking = Asking(wordings=self.wordings, max_pairs=self.max_pairs, queries_per_pair=self.queries_per_pair)
            triplets = compose(clips, attributes, asking, self.seed)
        else:
            triplets = []
            say("  no labels.csv and no triplets.csv: the clips can be searched, not trained on")
        members = [
            row
            for name in SPLITS
            for row in galleries(name, [clip["clip_id"] for clip in clips if clip["split"] == name], triplets)
        ]
        texts = [
            {"owner_id": clip["clip_id"], "kind": "caption", "text": clip["caption"], "writer": self.name}
            for clip in clips
            if clip["caption"]
        ]
        for reason, count in Counter(row["reason"] for row in quarantine).items():
            say(f"  {count} put into quarantine: {reason}")
        columns = tables.CLIPS.names
        return Dataset(
            clips=tables.from_rows("clips", [{name: clip.get(name) for name in columns} for clip in clips]),
            texts=tables.from_rows("texts", texts),
            triplets=tables.from_rows("triplets", triplets),
            galleries=tables.from_rows("galleries", members),
            quarantine=tables.from_rows("quarantine", quarantine),
        )

    def _folder(self) -> Place:
        folder = Place(str(self.root))
        if not folder.is_dir():
            raise UserError("no such folder", f"data.root={self.root}", "give a folder of videos")
        return folder

    def _clips(
        self, root: Place, folder: Place, entries: Sequence[Entry]
    ) -> tuple[list[dict[str, Any]], list[np.ndarray], list[dict[str, Any]]]:
        """Rows of the clips table with source, caption and asked split beside; their hashes; refused rows."""
        copy = folder.is_local and not root.is_local if self.copy == "auto" else self.copy
        settings = Settings(clip_s=self.clip_s, stride_s=self.stride_s, copy=copy, playable=self.playable)
        by_file: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_file[entry.file].append(entry)
        work = [(name, _stretches(of_file)) for name, of_file in sorted(by_file.items())]
        looked = map_batches(partial(look, root, folder, settings), work, batch=_TASK_FILES, label="reading files")
        clips, hashes, quarantine = [], [], []
        for found in looked:
            if found.refusal is not None:
                quarantine.append(_refused(clip_id(found.file, None, None), found.uri, *found.refusal))
                continue
            if found.not_playable:
                say(f"  no rendition of {found.file}: {found.not_playable}")
            entry_of = {(entry.start_s, entry.end_s): entry for entry in by_file[found.file]}
            for piece in found.pieces:
                entry = entry_of.get(piece.stretch, by_file[found.file][0])
                if piece.bits is None:
                    reason, detail = piece.refusal or ("", "")
                    quarantine.append(_refused(clip_id(found.file, *piece.stretch), found.uri, reason, detail))
                else:
                    clips.append(_clip(found, piece, entry))
                    hashes.append(piece.bits)
        return clips, hashes, quarantine

    def _check(self, clips: Sequence[Any], quarantine: Sequence[Mapping[str, Any]], where: str) -> None:
        bad = [row for row in quarantine if row["reason"] != "unlisted"]
        told = ", ".join(f"{count} {reason}" for reason, count in Counter(row["reason"] for row in bad).most_common())
        if not clips:
            raise UserError(f"no clip can be read ({told})", where, _first(bad))
        total = len(clips) + len(bad)
        if len(bad) > self.max_bad_fraction * total:
            raise UserError(
                f"{len(bad)} of {total} clips cannot be read ({told}), allowed are {self.max_bad_fraction:.0%}",
                where,
                f"{_first(bad)}; mend or remove them, or raise machine.max_bad_fraction",
            )


def _stretches(entries: Sequence[Entry]) -> tuple[tuple[float | None, float | None], ...]:
    """What was asked of a file; none where it is to be cut by the options or taken whole."""
    found = tuple((entry.start_s, entry.end_s) for entry in entries)
    return () if found == ((None, None),) else found


def _clip(found: Looked, piece: Piece, entry: Entry) -> dict[str, Any]:
    start_s, end_s = piece.stretch
    return {
        "clip_id": clip_id(found.file, start_s, end_s),
        "uri": found.uri,
        "kind": found.kind,
        "start_s": start_s,
        "end_s": end_s,
        "label": entry.label,
        "attributes": entry.attributes,
        "source_video": entry.source or found.file,
        "sha256": found.sha256,
        "num_frames": piece.num_frames,
        "fps": piece.fps,
        "width": piece.width,
        "height": piece.height,
        "caption": entry.caption,
        "asked_split": entry.split,
    }


def _refused(name: str, uri: str, reason: str, detail: str) -> dict[str, Any]:
    return {"clip_id": name, "uri": uri, "stage": _TOLD, "reason": reason, "detail": detail, "attempt": 1}


def _unread(listing: Listing | None) -> list[dict[str, Any]]:
    """Quarantine rows of what is named and not there, and of what is there and not named."""
    if listing is None:
        return []
    rows = [_refused(each.clip_id, each.file, "missing", f"{each.where} names it") for each in listing.missing]
    return rows + [
        _refused(clip_id(name, None, None), name, "unlisted", f"no row of {LABELS} names it")
        for name in listing.unlisted
    ]


def _with_labels(clips: Sequence[dict[str, Any]], attributes: Sequence[str]) -> list[str]:
    """Give clips the label by which they are told apart, and return the attributes that make it.

    Of a clip without a label it is its attributes, else its caption. Where clips of one label differ in attributes, the
    label becomes one of them: "jump (red)".
    """
    names = [name for name in attributes if any(name in clip["attributes"] for clip in clips)]
    values: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for clip in clips:
        if clip["label"] is not None:
            values[clip["label"]].add(tuple(clip["attributes"].get(name, "") for name in names))
    if any(len(found) > 1 for found in values.values()):
        for clip in clips:
            if clip["label"] is not None:
                told = ", ".join(clip["attributes"].get(name, "-") for name in names)
                clip["attributes"] = {"label": clip["label"], **clip["attributes"]}
                clip["label"] = f"{clip['label']} ({told})"
        return ["label", *names]
    for clip in clips:
        if clip["label"] is None:
            clip["label"] = ", ".join(clip["attributes"].values()) or clip["caption"]
    return names


def _named(known: set[str], files: Files, ids: Mapping[str, str], given: str, where: str) -> str | None:
    """The clip that a row of triplets.csv calls `given`: an id, or a file."""
    if given in known:
        return given
    name, mark, stretch = given.partition("#t=")
    file = files.find(name, where)
    return None if file is None else ids[file] + mark + stretch


def _check_asked(triplets: Sequence[Mapping[str, Any]]) -> None:
    asked = {row["split"] for row in triplets}
    if lacking := [split for split in SPLITS if split not in asked]:
        raise UserError(
            f"no triplet is left for {' and '.join(lacking)}: those that share a clip or a source video stay together",
            TRIPLETS,
            "give more triplets with clips of their own, or a split column",
        )


def _first(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"the first is {rows[0]['clip_id']} ({rows[0]['detail']})"
