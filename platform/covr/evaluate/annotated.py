"""The annotations of a benchmark from one published file, for scoring: no media, no storage root."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from covr.datasets.benchmark import Benchmark
from covr.datasets.circo import CIRCO
from covr.datasets.cirr import CIRR
from covr.datasets.egocvr import EgoCVR
from covr.datasets.fashioniq import FashionIQ
from covr.datasets.finecvr import FineCVR
from covr.datasets.rows import Rows
from covr.datasets.tf_covr import TFCoVR
from covr.datasets.webvid import WebVid
from covr.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """The queries of one split, with their right answers and galleries."""

    triplets: pa.Table
    galleries: pa.Table
    prefix: str
    """Of the query ids; what follows it is the published id."""
    notes: tuple[str, ...]
    """What a reader of the numbers has to know."""


def read_annotations(data: str, file: Path, gallery: Path | None = None) -> Annotated:
    """Read a published annotation file, and what stands beside it.

    Args:
        data: the data set, e.g. `circo`.
        file: its name tells the split (train, val or test).
        gallery: EgoCVR's gallery file.

    Raises:
        UserError: no such file, a fault in it, or a gallery file where the benchmark has none.
    """
    if not file.is_file():
        raise UserError("no such annotation file", str(file), "give the path of the published file")
    if gallery is not None and data != "egocvr":
        raise UserError("only EgoCVR has a gallery file", f"--gallery {gallery}", "leave it out")
    split = next((split for split in ("train", "val", "test") if split in file.name), "test")
    reader = READERS[data](file.resolve(), split, gallery)
    rows = Rows(reader.name, reader.place, None, reader.kind)
    reader.gather(split, rows)
    dataset = rows.dataset("stat")
    return Annotated(
        triplets=dataset.triplets,
        galleries=dataset.galleries,
        prefix=f"{reader.name}-{split}-",
        notes=tuple(rows.notes),
    )


def _webvid(name: str) -> Callable[[Path, str, Path | None], Benchmark]:
    def reader(file: Path, split: str, gallery: Path | None) -> WebVid:
        del gallery
        return WebVid(name=name, root=str(file.parent), files={split: file.name}, videos={split: "."}, media="none")

    return reader


def _tf_covr(file: Path, split: str, gallery: Path | None) -> TFCoVR:
    del gallery
    return TFCoVR(root=str(file.parent), files={split: file.name}, media="none")


def _cirr(file: Path, split: str, gallery: Path | None) -> CIRR:
    del split, gallery
    root, captions = _root(file)
    lists = "image_splits" if root != file.parent else "."
    return CIRR(root=str(root), captions=captions, image_splits=f"{lists}/split.rc2.{{split}}.json", media="none")


def _fashioniq(file: Path, split: str, gallery: Path | None) -> FashionIQ:
    del gallery
    named = re.fullmatch(r"cap\.(\w+)\.\w+\.json", file.name)
    if named is None:
        fix = "keep the published name, cap.<category>.<split>.json"
        raise UserError("the file's name does not tell its category", str(file), fix)
    root, captions = _root(file)
    lists = "image_splits" if root != file.parent else "."
    return FashionIQ(
        root=str(root),
        splits=(split,),
        categories=(named[1],),
        captions=captions,
        image_splits=f"{lists}/split.{{category}}.{{split}}.json",
        media="none",
    )


class _NamedImages(CIRCO):
    """CIRCO over the images that its annotations name: scoring asks nothing of the others."""

    def _images(self, rows: Rows) -> set[int]:
        return super()._images(rows) if self.place.resolve(self.image_info).exists() else self._named()


def _circo(file: Path, split: str, gallery: Path | None) -> CIRCO:
    del gallery
    root, annotations = _root(file)
    return _NamedImages(root=str(root), splits=(split,), annotations=annotations, media="none")


def _egocvr(file: Path, split: str, gallery: Path | None) -> EgoCVR:
    del split
    found = None if gallery is None else str(gallery.resolve())
    return EgoCVR(root=str(file.parent), annotations=file.name, gallery=found, media="none")


def _finecvr(file: Path, split: str, gallery: Path | None) -> FineCVR:
    del gallery
    return FineCVR(root=str(file.parent), splits=(split,), files={split: file.name}, media="none")


def _root(file: Path) -> tuple[Path, str]:
    """The data root and the file's path below it: the folder above where the file lies in one of the published."""
    if file.parent.name in ("captions", "annotations"):
        return file.parent.parent, f"{file.parent.name}/{file.name}"
    return file.parent, file.name


READERS: dict[str, Callable[[Path, str, Path | None], Benchmark]] = {
    "webvid-covr": _webvid("webvid-covr"),
    "dense-webvid-covr": _webvid("dense-webvid-covr"),
    "cirr": _cirr,
    "fashioniq": _fashioniq,
    "circo": _circo,
    "egocvr": _egocvr,
    "finecvr": _finecvr,
    "tf-covr": _tf_covr,
}
