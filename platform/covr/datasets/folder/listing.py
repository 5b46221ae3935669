"""What a folder holds by its own word: the video files in it, and what its CSV files say of them."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from covr.datasets.dataset import SPLITS
from covr.datasets.folder.csv_file import CsvFile, Row, parse
from covr.errors import UserError
from covr.limits import LIMITS
from covr.storage import Place

LABELS, SEGMENTS, TRIPLETS = "labels.csv", "segments.csv", "triplets.csv"
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".3gp", ".3g2")
"""Endings of the files that are read without being named in a CSV file; those named may have any."""
_KNOWN = ("clip", "start_s", "end_s", "label", "caption", "split", "source")
_SPLITS = {**{name: name for name in SPLITS}, "training": "train", "validation": "val", "valid": "val", "dev": "val"}
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A clip as it is asked for: a file, or a stretch of one."""

    file: str
    """Relative to the folder."""
    start_s: float | None = None
    end_s: float | None = None
    label: str | None = None
    caption: str | None = None
    split: str | None = None
    source: str | None = None
    """What it was cut or filmed from, where that is more than its file; clips of one source stay in one split."""
    attributes: dict[str, str] = field(default_factory=dict)
    where: str = ""

    @property
    def clip_id(self) -> str:
        return clip_id(self.file, self.start_s, self.end_s)


def clip_id(file: str, start_s: float | None, end_s: float | None) -> str:
    """The file's path, blanks escaped, and the stretch as a media fragment: `dives/one.mov#t=1.5,4`."""
    name = re.sub(r"[\s%]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), file)
    if start_s is None and end_s is None:
        return name
    return f"{name}#t={start_s or 0:g}" + ("" if end_s is None else f",{end_s:g}")


class Files:
    """The files below a folder, found by the names that people give them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = sorted(names)
        self._by_name = {_normal(name): name for name in self.names}
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self.videos:
            self._by_stem[_normal(str(PurePosixPath(name).with_suffix("")))].append(name)

    @property
    def videos(self) -> list[str]:
        return [name for name in self.names if name.lower().endswith(VIDEOS)]

    def find(self, given: str, where: str) -> str | None:
        """The file of that name, with or without its ending; None where there is none.

        Raises:
            UserError: the name leaves the folder, or several files have it.
        """
        path = PurePosixPath(given.replace("\\", "/"))
        if ".." in path.parts or path.is_absolute() or "\0" in given:
            raise UserError(f"clip {given!r} is not below the folder", where, "give paths relative to the folder")
        wanted = _normal(str(path))
        if wanted in self._by_name:
            return self._by_name[wanted]
        found = self._by_stem.get(wanted, [])
        if len(found) > 1:
            raise UserError(f"clip {given!r} may be {' or '.join(found[:3])}", where, "give the ending too")
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What is to be read, and what cannot be."""

    entries: list[Entry]
    missing: list[Entry]
    """Named in a CSV file, and not there."""
    unlisted: list[str]
    """Files that no CSV file names, where there is one."""
    attributes: list[str]


def list_files(folder: Place, leave_out: Place | None = None) -> dict[str, dict]:
    """The files below `folder` by relative name, with what the file system says of each; hidden ones left out.

    Args:
        leave_out: the storage root, which may lie in the folder.
    """
    found = folder.fs.find(folder.path, detail=True)
    names = {path: path[len(folder.path) :].lstrip("/") for path in found}
    inside = leave_out.path + "/" if leave_out and leave_out.path != folder.path else None
    return {
        name: found[path]
        for path, name in names.items()
        if not any(part.startswith(".") for part in name.split("/")) and not (inside and path.startswith(inside))
    }


def read_listing(folder: Place, files: Files) -> Listing | None:
    """What labels.csv and segments.csv say; None where there is neither.

    A file that segments.csv cuts is there by its stretches alone; they have its label where they name none.

    Raises:
        UserError: a file that cannot be read, or a clip that is named twice.
    """
    labels, segments = (_read(folder, files, name) for name in (LABELS, SEGMENTS))
    if labels is None and segments is None:
        return None
    attributes = list(dict.fromkeys([*_attributes(labels), *_attributes(segments)]))
    whole = _entries(labels, files, LABELS)
    cut = _entries(segments, files, SEGMENTS)
    of_file = {entry.file: entry for entry in whole}
    pieces = {entry.file for entry in cut}
    entries = [entry for entry in whole if entry.file not in pieces]
    entries += [_inheriting(entry, of_file.get(entry.file)) for entry in cut]
    there = set(files.names)
    return Listing(
        entries=[entry for entry in entries if entry.file in there],
        missing=[entry for entry in entries if entry.file not in there],
        unlisted=sorted(set(files.videos) - {entry.file for entry in entries}),
        attributes=attributes,
    )


def seconds(text: str, where: str, *, comma: bool = False) -> float | None:
    """`90`, `90.5`, `1:30.5` or `0:01:30` in seconds; None of an empty text.

    Args:
        comma: whether 90,5 is read too.

    Raises:
        UserError: no such time.
    """
    found = _TIME.fullmatch(text.replace(",", ".") if comma else text)
    if found is None and text:
        raise UserError(f"no time: {text!r}", where, "write seconds (90.5) or minutes and seconds (1:30.5)")
    if found is None:
        return None
    return 3600 * int(found[1] or 0) + 60 * int(found[2] or 0) + float(found[3])


def split_of(text: str, where: str) -> str | None:
    """train, val or test; None of an empty text.

    Raises:
        UserError: another word.
    """
    if text and text.lower() not in _SPLITS:
        raise UserError(f"unknown split {text!r}", where, f"use one of {', '.join(SPLITS)}")
    return _SPLITS[text.lower()] if text else None


def words(text: str, what: str, where: str) -> str | None:
    """A text of one line within the limits; None of an empty one.

    Raises:
        UserError: too long.
    """
    if len(text) > LIMITS.max_text_chars:
        raise UserError(f"a {what} of {len(text)} characters", where, f"give at most {LIMITS.max_text_chars}")
    return " ".join(text.split()) or None


def _read(folder: Place, files: Files, name: str) -> CsvFile | None:
    if name not in files.names:
        return None
    if name == LABELS:
        return parse((folder / name).read_bytes(), name, required=["clip"])
    return parse((folder / name).read_bytes(), name, required=["clip", "start_s", "end_s"])


def _attributes(table: CsvFile | None) -> list[str]:
    return [column for column in table.columns if column and column not in _KNOWN] if table else []


def _entries(table: CsvFile | None, files: Files, name: str) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for row in table.rows if table else []:
        entry = _entry(row, files, _attributes(table), comma=table is not None and table.delimiter == ";")
        before = entries.setdefault(entry.clip_id, entry)
        if before is not entry:
            raise UserError(f"clip {entry.clip_id!r} is named twice", f"{before.where} and {entry.where}", "keep one")
    if table and not entries:
        raise UserError("no clip is named", name, "give a row for each clip, or remove the file")
    return list(entries.values())


def _entry(row: Row, files: Files, attributes: Sequence[str], *, comma: bool) -> Entry:
    if not row["clip"]:
        raise UserError("a row without a clip", row.where, "name the clip's file, or remove the row")
    start_s, end_s = (seconds(row[column], row.where, comma=comma) for column in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise UserError(f"a stretch that ends at {end_s:g} s before it starts", row.where, "correct start_s or end_s")
    return Entry(
        file=files.find(row["clip"], row.where) or row["clip"],
        start_s=start_s,
        end_s=end_s,
        label=words(row["label"], "label", row.where),
        caption=words(row["caption"], "caption", row.where),
        split=split_of(row["split"], row.where),
        source=row["source"] or None,
        attributes={name: value for name in attributes if (value := words(row[name], name, row.where))},
        where=row.where,
    )


def _inheriting(entry: Entry, whole: Entry | None) -> Entry:
    """A stretch with what its file's own row says where it says nothing."""
    if whole is None:
        return entry
    own = {name: getattr(entry, name) or getattr(whole, name) for name in ("label", "caption", "split", "source")}
    return replace(entry, attributes={**whole.attributes, **entry.attributes}, **own)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS writes letters with accents in two parts
