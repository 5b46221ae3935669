"""CIRCO (Baldrati et al., ICCV 2023): composed image retrieval on COCO's unlabeled images, several answers a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from covr.datasets.annotations import read_object, read_records
from covr.datasets.benchmark import Benchmark
from covr.datasets.record import Record
from covr.datasets.rows import Rows
from covr.errors import UserError

GALLERY = "circo/unlabeled2017"


@dataclass(frozen=True, kw_only=True)
class CIRCO(Benchmark):
    """`val.json` (220 queries) and `test.json` (800, answers hidden) over 123,403 images, one gallery for both.

    The gallery is what COCO's image_info file lists; where it is not there, every image of the folder. Clip ids are
    COCO's image ids. The shared concept becomes a text of the query, the semantic aspects a tag.
    """

    name: str = "circo"
    splits: tuple[str, ...] | list[str] = ("val", "test")
    annotations: str = "annotations/{split}.json"
    image_info: str = "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
    images: str = "COCO2017_unlabeled/unlabeled2017"

    kind: ClassVar[Literal["video", "image"]] = "image"
    hidden: ClassVar[tuple[str, ...]] = ("test",)
    known_splits: ClassVar[tuple[str, ...]] = ("val", "test")

    def annotation_files(self) -> Iterator[str]:
        yield self.image_info
        yield from (self.annotations.format(split=split) for split in self.splits)

    def media_folders(self) -> Iterator[str]:
        yield self.images

    def gather(self, split: str, rows: Rows) -> None:
        images = self._images(rows)
        rows.gallery(GALLERY, [self._clip(image, split, rows) for image in sorted(images)])
        seen: set[int] = set()
        for record in read_records(self.place.resolve(self.annotations.format(split=split))):
            reference, targets = record.integer("reference_img_id"), self._targets(record, split)
            if reference in targets:
                raise record.refuse("gt_img_ids", "the reference is among the answers")
            for field, image in (("reference_img_id", reference), *(("gt_img_ids", image) for image in targets)):
                if image not in images:
                    raise record.refuse(field, f"{image} is not an image of the gallery")
            number = record.new_integer("id", seen)
            rows.text(rows.query_id(split, number), "shared_concept", record.text("shared_concept"))
            aspects = record.texts("semantic_aspects", empty=True) if targets else []
            rows.query(
                split,
                number,
                str(reference),
                [record.text("relative_caption")],
                [str(image) for image in targets],
                tags={"semantic_aspects": "; ".join(aspects)} if aspects else None,
                galleries={"corrected": GALLERY, "published": GALLERY},
            )

    def _clip(self, image: int, split: str, rows: Rows) -> str:
        return rows.clip(str(image), split, f"{self.images}/{image:012d}")

    def _targets(self, record: Record, split: str) -> list[int]:
        """The annotated image, then the others; none where they are hidden."""
        if split in self.hidden and "target_img_id" not in record:
            return []
        target, answers = record.integer("target_img_id"), record.integers("gt_img_ids")
        if target not in answers:
            raise record.refuse("gt_img_ids", f"the target {target} is not among them")
        if len(set(answers)) != len(answers):
            raise record.refuse("gt_img_ids", "an answer stands there twice")
        return list(dict.fromkeys([target, *answers]))

    def _images(self, rows: Rows) -> set[int]:
        """Ids of the gallery's images.

        Raises:
            UserError: neither the list nor the files are there.
        """
        place = self.place.resolve(self.image_info)
        if place.exists():
            seen: set[int] = set()
            for image in read_object(place).records("images"):
                image.new_integer("id", seen)
            return seen
        found = rows.media.stems(self.images) if rows.media is not None else []
        if not found:
            raise UserError("the gallery is not known", str(place), "fetch COCO's image_info file, or the images")
        rows.note(f"{place} is not there; the gallery is the {len(found)} images of the folder, not the official list")
        return {int(stem) for stem in found if stem.isdigit()} | self._named()

    def _named(self) -> set[int]:
        """Ids of the images that the annotations name."""
        named: set[int] = set()
        for split in self.splits:
            for record in read_records(self.place.resolve(self.annotations.format(split=split))):
                named |= {record.integer("reference_img_id"), *self._targets(record, split)}
        return named
