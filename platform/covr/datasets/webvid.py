"""WebVid-CoVR (Ventura et al., AAAI 2024) and Dense-WebVid-CoVR (Thawakar et al., ICCV 2025): captioned web videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from covr.datasets.annotations import read_csv
from covr.datasets.benchmark import Benchmark
from covr.datasets.record import Record
from covr.datasets.rows import Rows

COLUMNS = ("txt1", "txt2", "sim_txt", "pth1", "pth2", "edit", "scores")


@dataclass(frozen=True, kw_only=True)
class WebVid(Benchmark):
    """One CSV a split: `txt1,txt2,sim_txt,pth1,pth2,edit,scores`; `pth2` may lack in `without_targets`.

    `scores` become target_weights, null where the list is empty. Galleries of a query: `corrected` (the split's
    targets, each once) and, for val and test, `published` (one row per annotation).
    """

    name: str = "webvid-covr"
    files: dict[str, str] = field(default_factory=dict)
    """The CSV of each split."""
    videos: dict[str, str] = field(default_factory=dict)
    """The folder of each split's videos, `<folder>/<pth>.mp4`."""
    text_kind: Literal["caption", "description"] = "caption"
    """What `txt1` is; `txt2` is a caption in both sets."""

    without_targets: tuple[str, ...] | list[str] = ()
    """Splits whose file may lack `pth2`: their answers are hidden."""

    def annotation_files(self) -> Iterator[str]:
        yield from (self.files[split] for split in self.splits)

    def media_folders(self) -> Iterator[str]:
        yield from (self.videos[split] for split in self.splits)

    def number(self, record: Record) -> int:
        """What a row's query is named by."""
        return record.row - 1

    def gather(self, split: str, rows: Rows) -> None:
        folder, targets = self.videos[split], []
        corrected, published = f"{self.name}/{split}/targets", f"{self.name}/{split}/annotations"
        galleries = {"corrected": corrected} if split == "train" else {"corrected": corrected, "published": published}
        columns = [name for name in COLUMNS if name != "pth2" or split not in self.without_targets]
        for record in read_csv(self.place.resolve(self.files[split]), columns):
            record.number("sim_txt")
            number, query_clip = self.number(record), record.name("pth1")
            rows.clip(query_clip, split, f"{folder}/{query_clip}")
            query_id = rows.query_id(split, number)
            rows.text(query_clip, self.text_kind, record.text("txt1", empty=True), query_id)
            answers = []
            if "pth2" in record:
                target = record.name("pth2")
                if target == query_clip:
                    raise record.refuse("pth2", "the target is the query clip")
                rows.clip(target, split, f"{folder}/{target}")
                rows.text(target, "caption", record.text("txt2", empty=True))
                answers = [target]
                targets.append(target)
            weights = record.numbers("scores") or None
            rows.query(
                split,
                number,
                query_clip,
                [record.text("edit")],
                answers,
                target_weights=weights,
                galleries=galleries if answers else {},
            )
        rows.gallery(corrected, dict.fromkeys(targets))
        if split != "train":
            rows.gallery(published, targets)
