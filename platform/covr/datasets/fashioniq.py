"""FashionIQ (Wu et al., CVPR 2021): composed retrieval of dresses, shirts and tops, two captions a pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from covr.datasets.annotations import read_json, read_records
from covr.datasets.benchmark import Benchmark
from covr.datasets.record import Record
from covr.datasets.rows import Rows
from covr.errors import UserError

CATEGORIES = ("dress", "shirt", "toptee")


@dataclass(frozen=True, kw_only=True)
class FashionIQ(Benchmark):
    """`cap.<category>.<split>.json` and `split.<category>.<split>.json`, numbers being reported on val.

    The modification is "caption 1 and caption 2". Each category has its own gallery a split: the images of its list.
    """

    name: str = "fashioniq"
    splits: tuple[str, ...] | list[str] = ("train", "val")
    categories: tuple[str, ...] | list[str] = CATEGORIES
    captions: str = "captions/cap.{category}.{split}.json"
    image_splits: str = "image_splits/split.{category}.{split}.json"
    images: str = "images"

    kind: ClassVar[Literal["video", "image"]] = "image"
    hidden: ClassVar[tuple[str, ...]] = ("test",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for category in self.categories:
            if category not in CATEGORIES:
                raise UserError(f"no category {category!r}", "data.categories", f"choose of {', '.join(CATEGORIES)}")

    def annotation_files(self) -> Iterator[str]:
        for split in self.splits:
            for category in self.categories:
                yield self.captions.format(category=category, split=split)
                yield self.image_splits.format(category=category, split=split)

    def media_folders(self) -> Iterator[str]:
        yield self.images

    def gather(self, split: str, rows: Rows) -> None:
        for category in self.categories:
            self._category(category, split, rows)

    def _category(self, category: str, split: str, rows: Rows) -> None:
        listed = self._listed(self.image_splits.format(category=category, split=split))
        for image in listed:
            rows.clip(image, split, f"{self.images}/{image}", label=category)
        gallery = rows.gallery(f"{self.name}/{category}/{split}", listed)
        in_gallery = set(listed)
        for record in read_records(self.place.resolve(self.captions.format(category=category, split=split))):
            captions = record.texts("captions")
            if len(captions) != 2:
                raise record.refuse("captions", f"{len(captions)} captions instead of 2")
            candidate = record.name("candidate")
            unknown = split in self.hidden and "target" not in record
            targets = [] if unknown else [record.name("target")]
            for field, image in (("candidate", candidate), *(("target", target) for target in targets)):
                if image not in in_gallery:
                    raise record.refuse(field, f"{image} is not in the split's list of images")
            if candidate in targets:
                raise record.refuse("target", "the target is the candidate")
            rows.query(
                split,
                f"{category}-{record.row - 1}",
                candidate,
                [" and ".join(caption.strip() for caption in captions)],
                targets,
                tags={"category": category},
                galleries={"corrected": gallery, "published": gallery},
            )

    def _listed(self, path: str) -> list[str]:
        """The images of a split, sorted, as CoVR orders its gallery."""
        place = self.place.resolve(path)
        names = Record({"images": read_json(place)}, str(place), 1).names("images")
        if not names:
            raise UserError("an empty list of images", f"{place}, row 1", "fetch the file again")
        return sorted(set(names))
