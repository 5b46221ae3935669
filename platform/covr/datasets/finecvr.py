"""FineCVR-1M (Yue et al., 2025): composed retrieval of fine-grained video differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from covr.datasets.annotations import read_csv, read_object
from covr.datasets.benchmark import Benchmark
from covr.datasets.record import Record
from covr.datasets.rows import Rows

COLUMNS = ("idx", "ref", "target", "caption", "source", "class_id")


@dataclass(frozen=True, kw_only=True)
class FineCVR(Benchmark):
    """Tab-separated `<split>_remaped.txt` without a header: idx, ref, target, caption, source, class_id.

    Where `id2vdoname_<split>.json` is there, ref and target are its keys and the clips are its names; every clip that
    it lists is in the gallery. Otherwise they are the clips' names themselves.
    """

    name: str = "finecvr"
    splits: tuple[str, ...] | list[str] = ("train", "test")
    files: dict[str, str] = field(default_factory=lambda: {"train": "train_remaped.txt", "test": "test_remaped.txt"})
    """The triplets of each split (the spelling is the publisher's)."""
    names: str = "id2vdoname_{split}.json"
    videos: str = "videos"
    """The folder of `<name>.mp4`. Only frames and features are published: see `data.media=none`."""

    known_splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def annotation_files(self) -> Iterator[str]:
        for split in self.splits:
            yield self.files[split]
            yield self.names.format(split=split)

    def media_folders(self) -> Iterator[str]:
        yield self.videos

    def gather(self, split: str, rows: Rows) -> None:
        names = self._names(split, rows)
        gallery = {name: self._clip(name, split, rows) for name in names.values()}
        gallery_id = f"{self.name}/{split}/clips"
        for record in read_csv(self.place.resolve(self.files[split]), COLUMNS, dialect="tab", header=False):
            record.integer("idx")
            query_clip, target = (self._named(record, column, names) for column in ("ref", "target"))
            if query_clip == target:
                raise record.refuse("target", "the target is the reference")
            for clip in (query_clip, target):
                gallery[clip] = self._clip(clip, split, rows)
            rows.query(
                split,
                record.row - 1,
                query_clip,
                [record.text("caption")],
                [target],
                tags={"source": record.text("source"), "class": str(record.integer("class_id"))},
                galleries={"corrected": gallery_id, "published": gallery_id},
            )
        rows.gallery(gallery_id, gallery)

    def _clip(self, name: str, split: str, rows: Rows) -> str:
        return rows.clip(name, split, f"{self.videos}/{name}")

    def _named(self, record: Record, column: str, names: dict[str, str]) -> str:
        value = record.name(column)
        if names and value not in names:
            raise record.refuse(column, f"{value} is not in id2vdoname")
        return names.get(value, value)

    def _names(self, split: str, rows: Rows) -> dict[str, str]:
        place = self.place.resolve(self.names.format(split=split))
        if not place.exists():
            rows.note(f"{split}: {place} is not there; its gallery is what the triplets name, by the names there")
            return {}
        found = read_object(place)
        return {key: found.name(key) for key in found.fields}
