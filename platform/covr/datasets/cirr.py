"""CIRR (Liu et al., ICCV 2021): composed image retrieval on NLVR2's images, with subsets of six similar ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from covr.datasets.annotations import read_json, read_records
from covr.datasets.benchmark import Benchmark
from covr.datasets.record import Record
from covr.datasets.rows import Rows
from covr.errors import UserError

SET_SIZE = 6
FILE_SPLITS = {"train": "train", "val": "val", "test": "test1"}


@dataclass(frozen=True, kw_only=True)
class CIRR(Benchmark):
    """`captions/cap.rc2.<split>.json` and, where it is there, `image_splits/split.rc2.<split>.json`; test1 hides
    its answers and becomes the split test.

    Targets are the hard one (grade 1) and then the soft ones with their grades. Galleries of a query: `corrected`
    (the official images of the split: those of image_splits, else all that the captions name), `published` (every
    image in the split's folder, as CoVR evaluates; only with files at hand) and `subset` (the pair's six images).
    """

    name: str = "cirr"
    captions: str = "captions/cap.rc2.{split}.json"
    image_splits: str = "image_splits/split.rc2.{split}.json"
    images: str = "images"
    """The folder of NLVR2's `train`, `dev` and `test1`."""
    folders: dict[str, str] = field(default_factory=lambda: {"train": "train", "val": "dev", "test": "test1"})
    """Below `images`, where each split's images lie."""

    kind: ClassVar[Literal["video", "image"]] = "image"
    hidden: ClassVar[tuple[str, ...]] = ("test",)
    by: ClassVar[Literal["path", "stem"]] = "stem"

    def _file(self, pattern: str, split: str) -> str:
        return pattern.format(split=FILE_SPLITS[split])

    def annotation_files(self) -> Iterator[str]:
        for split in self.splits:
            yield self._file(self.captions, split)
            yield self._file(self.image_splits, split)

    def media_folders(self) -> Iterator[str]:
        yield from (f"{self.images}/{self.folders[split]}" for split in self.splits)

    def gather(self, split: str, rows: Rows) -> None:
        folder = f"{self.images}/{self.folders[split]}"
        official = self._official(split, rows)
        galleries = {"corrected": f"{self.name}/{split}/images"}
        if rows.media is not None:
            galleries["published"] = f"{self.name}/{split}/folder"
            inside = rows.media.stems(folder)
            rows.gallery(galleries["published"], [rows.clip(name, split, f"{folder}/{name}") for name in inside])
        gallery = {name: rows.clip(name, split, f"{folder}/{name}") for name in official}
        sets: dict[str, list[str]] = {}
        seen: set[int] = set()
        for record in read_records(self.place.resolve(self._file(self.captions, split))):
            pair_id, reference = record.new_integer("pairid", seen), record.name("reference")
            image_set = record.record("img_set")
            set_id, members = str(image_set.integer("id")), image_set.names("members")
            if len(set(members)) != SET_SIZE:
                raise record.refuse("img_set", f"not {SET_SIZE} different images")
            grades = {} if split in self.hidden and "target_hard" not in record else _grades(record)
            named = {"img_set": members, "reference": [reference], "target_soft": grades, "target_hard": [*grades][:1]}
            for name, column in {name: column for column, names in named.items() for name in names}.items():
                if official and name not in official:
                    raise record.refuse(column, f"{name} is not among the images of the split")
                gallery[name] = rows.clip(name, split, f"{folder}/{name}")
            if set(sets.setdefault(set_id, members)) != set(members):
                raise record.refuse("img_set", f"set {set_id} has other members in an earlier row")
            rows.query(
                split,
                pair_id,
                reference,
                [record.text("caption")],
                grades,
                target_grades=list(grades.values()) or None,
                tags={"pairid": str(pair_id), "img_set": set_id},
                galleries={**galleries, "subset": f"{self.name}/{split}/set-{set_id}"},
            )
        rows.gallery(galleries["corrected"], gallery)
        for set_id, members in sets.items():
            rows.gallery(f"{self.name}/{split}/set-{set_id}", members)

    def _official(self, split: str, rows: Rows) -> Mapping[str, object]:
        place = self.place.resolve(self._file(self.image_splits, split))
        if not place.exists():
            rows.note(f"{split}: {place} is not there; its gallery is what the captions name, not the official list")
            return {}
        images = read_json(place)
        if not isinstance(images, dict) or not images:
            raise UserError("not an object of image names", f"{place}, row 1", "fetch the file again")
        return {Record({"image": name}, str(place), row).name("image"): None for row, name in enumerate(images, 1)}


def _grades(record: Record) -> dict[str, float]:
    """Grade of each target, the hard one first."""
    hard = record.name("target_hard")
    if hard == record.name("reference"):
        raise record.refuse("target_hard", "the target is the reference")
    soft = record.numbers_by_name("target_soft")
    return {hard: 1.0, **{name: grade for name, grade in soft.items() if grade > 0 and name != hard}}
