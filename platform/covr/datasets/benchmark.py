"""What the readers of published benchmarks share: data root, splits, files and how many of them are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from covr.datasets.dataset import SPLITS, Dataset
from covr.datasets.media import Identity, Media
from covr.datasets.rows import Rows
from covr.errors import UserError
from covr.report.console import say
from covr.storage import Place
from covr.storage.place import fingerprint

READER = 2
"""Raised when the same files give other rows."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A reader of annotation files below `root`. A subclass names its files and turns their records into rows.

    Raises:
        UserError: a field out of its range.
    """

    name: str
    root: str | None = None
    """The folder, or s3:// or gs:// URI, with annotations and media as docs/datasets.md lays them out."""
    splits: tuple[str, ...] | list[str] = SPLITS
    """Those to read; the annotation file of each has to be there."""
    media: Literal["files", "none"] = "files"
    """`none`: no video or image is looked for; vectors made elsewhere take their place (model/video=stored)."""
    min_coverage: float = 1.0
    """Least share of clips, and of queries, in each split; with less the data set is refused."""
    identity: Identity = "content"
    """What tells a changed file: the hash of its bytes, or (`stat`) its size and time, for very large sets."""

    on_ray: ClassVar[bool] = False
    kind: ClassVar[Literal["video", "image"]] = "video"
    by: ClassVar[Literal["path", "stem"]] = "path"
    known_splits: ClassVar[tuple[str, ...]] = SPLITS
    hidden: ClassVar[tuple[str, ...]] = ()
    """Splits whose answers are not published: their target fields may be absent."""

    def __post_init__(self) -> None:
        for split in self.splits:
            if split not in self.known_splits:
                known = ", ".join(self.known_splits)
                raise UserError(f"{self.name} has no split {split!r}", "data.splits", f"choose of {known}")
        for option, kind in (("media", Literal["files", "none"]), ("identity", Identity)):
            if getattr(self, option) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise UserError(f"no such choice {getattr(self, option)!r}", f"data.{option}", f"choose of {known}")
        if not 0 <= self.min_coverage <= 1:
            raise UserError("not a share", f"data.min_coverage={self.min_coverage}", "give a number from 0 to 1")

    def annotation_files(self) -> Iterator[str]:
        """Paths below the root of all files that are read."""
        raise NotImplementedError

    def media_folders(self) -> Iterator[str]:
        """Paths below the root of the folders that hold the clips."""
        raise NotImplementedError

    def gather(self, split: str, rows: Rows) -> None:
        """Read one split into `rows`."""
        raise NotImplementedError

    @property
    def place(self) -> Place:
        """The data root."""
        if self.root is None:
            raise UserError(
                f"where is {self.name}?", "data.root", "give the folder that holds it; see docs/datasets.md"
            )
        place = Place(self.root)
        if not place.is_dir():
            raise UserError("no such folder", f"data.root={self.root}", "give the folder that holds the data set")
        return place

    @property
    def version(self) -> str:
        files = {path: self._hash(path) for path in sorted(set(self.annotation_files()))}
        media = self._media()
        return fingerprint(READER, files, media and media.fingerprint())

    def _hash(self, path: str) -> str | None:
        file = self.place.resolve(path)
        return file.sha256() if file.exists() else None

    def _media(self) -> Media | None:
        return Media(self.place, self.media_folders(), self.by) if self.media == "files" else None

    def read(self, root: Place) -> Dataset:
        """Read all splits; the clips without a file are listed in `missing.tsv` below `root`.

        Raises:
            UserError: a fault in an annotation file, or less there than `min_coverage`.
        """
        rows = Rows(self.name, self.place, self._media(), self.kind)
        for split in self.splits:
            self.gather(split, rows)
        for note in rows.notes:
            say(f"  {note}")
        self._check_coverage(rows, root / "missing.tsv")
        return rows.dataset(self.identity)

    def _check_coverage(self, rows: Rows, listed: Place) -> None:
        listed.remove()
        missing, coverage = rows.missing, rows.coverage()
        if not missing:
            return
        listed.write_bytes("".join(f"{clip}\t{path}\n" for clip, path in missing).encode())
        by_split = "; ".join(told(split, counts) for split, counts in coverage["splits"].items())
        say(f"  missing files: {len(missing)}, listed in {listed} ({by_split})")
        if not any(counts["kept"] for counts in coverage["splits"].values()):
            fix = "give the folder that holds them (docs/datasets.md), or data.media=none where vectors stand for them"
            raise UserError(f"no query is left: {len(missing)} files are missing", str(listed), fix)
        if coverage["share"] < self.min_coverage:
            whole = [split for split, counts in coverage["splits"].items() if counts["kept"]]
            rest = f"data.min_coverage={int(1000 * coverage['share']) / 1000}"
            if len(whole) < len(coverage["splits"]):
                rest = f"data.splits=[{','.join(whole)}]"
            raise UserError(
                f"{len(missing)} files are missing ({by_split}): {coverage['share']:.1%} is there",
                str(listed),
                f"fetch them, or go on with the rest: {rest}",
            )


def told(split: str, counts: Mapping[str, int]) -> str:
    """How much of a split is there (see `covr.datasets.rows.Rows.coverage`), in words."""
    return (
        f"{split} has {counts['present']} of {counts['clips']} clips, {counts['kept']} of {counts['queries']} queries"
    )
