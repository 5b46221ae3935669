"""CC-CoIR (Ventura et al., TPAMI 2024): image triplets from Conceptual Captions, for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from covr.datasets.annotations import read_csv
from covr.datasets.benchmark import Benchmark
from covr.datasets.rows import Rows


@dataclass(frozen=True, kw_only=True)
class CCCoIR(Benchmark):
    """One CSV with `pth1,pth2,edit` and often `txt1,txt2`; `edit` is one wording or a list of them."""

    name: str = "cc-coir"
    splits: tuple[str, ...] | list[str] = ("train",)
    file: str = "annotation/cc-coir/cc-coir_train.csv"
    images: str = "conceptual_captions/train"
    """The folder of `<pth>.jpg` or `.png`."""

    kind: ClassVar[Literal["video", "image"]] = "image"
    known_splits: ClassVar[tuple[str, ...]] = ("train",)

    def annotation_files(self) -> Iterator[str]:
        yield self.file

    def media_folders(self) -> Iterator[str]:
        yield self.images

    def gather(self, split: str, rows: Rows) -> None:
        gallery = f"{self.name}/{split}/targets"
        targets: dict[str, None] = {}
        for record in read_csv(self.place.resolve(self.file), ("pth1", "pth2", "edit")):
            query_clip, target = record.name("pth1"), record.name("pth2")
            if target == query_clip:
                raise record.refuse("pth2", "the target is the query image")
            for image, column in ((query_clip, "txt1"), (target, "txt2")):
                rows.clip(image, split, f"{self.images}/{image}")
                if column in record:
                    rows.text(image, "caption", record.text(column, empty=True))
            targets[target] = None
            rows.query(
                split, record.row - 1, query_clip, record.texts("edit"), [target], galleries={"corrected": gallery}
            )
        rows.gallery(gallery, targets)
