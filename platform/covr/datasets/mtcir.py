"""MTCIR (Huynh et al., CVPR 2025): image triplets with several modifications a pair, for training.

Its layout is not confirmed, so the columns are declared; the defaults are those of its hub page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from os.path import splitext
from typing import ClassVar, Literal

from covr.datasets.annotations import read_json_lines
from covr.datasets.benchmark import Benchmark
from covr.datasets.rows import Rows
from covr.errors import UserError

FIELDS = ("query", "target", "modifications")


@dataclass(frozen=True, kw_only=True)
class MTCIR(Benchmark):
    """JSON lines; `columns` says which of their keys hold query image, target image and modifications."""

    name: str = "mtcir"
    splits: tuple[str, ...] | list[str] = ("train",)
    files: tuple[str, ...] | list[str] = ("mtcir.jsonl",)
    columns: dict[str, str] = field(
        default_factory=lambda: {"query": "image", "target": "target_image", "modifications": "modifications"}
    )
    images: str = "images"
    """The folder that the images' paths start from."""

    kind: ClassVar[Literal["video", "image"]] = "image"
    known_splits: ClassVar[tuple[str, ...]] = ("train",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(self.columns) != sorted(FIELDS):
            raise UserError("not the columns to declare", "data.columns", f"map {', '.join(FIELDS)}")

    def annotation_files(self) -> Iterator[str]:
        yield from self.files

    def media_folders(self) -> Iterator[str]:
        yield self.images

    def gather(self, split: str, rows: Rows) -> None:
        gallery, number = f"{self.name}/{split}/targets", 0
        targets: dict[str, None] = {}
        for path in self.files:
            for record in read_json_lines(self.place.resolve(path)):
                pair = []
                for role in ("query", "target"):
                    image = splitext(record.name(self.columns[role]))[0]
                    pair.append(rows.clip(image, split, f"{self.images}/{image}"))
                query_clip, target = pair
                if query_clip == target:
                    raise record.refuse(self.columns["target"], "the target is the query image")
                targets[target] = None
                wordings = record.texts(self.columns["modifications"])
                rows.query(split, number, query_clip, wordings, [target], galleries={"corrected": gallery})
                number += 1
        rows.gallery(gallery, targets)
