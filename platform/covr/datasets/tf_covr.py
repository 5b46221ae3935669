"""TF-CoVR (Gupta et al., 2025): composed retrieval of gymnastics (FineGym) and diving (FineDiving) by fine actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from covr.datasets.annotations import read_csv
from covr.datasets.benchmark import Benchmark
from covr.datasets.dataset import SPLITS
from covr.datasets.record import Record
from covr.datasets.rows import Rows

TRAIN_COLUMNS = ("query_video", "target_video", "label1", "label2", "modification")
TEST_COLUMNS = ("query_id", "query_video", "target_video", "target_videos_ids", "modification")


@dataclass(frozen=True, kw_only=True)
class TFCoVR(Benchmark):
    """`train_finegd.csv` (a pair of labelled videos a row) and `val_` and `test_finegd.csv` (a query and all its
    answers a row) over one flat folder of videos.

    The train labels become the clips' labels and, of the target, target_label. Galleries of a val or test query:
    `published` (the target_video column, duplicates kept), `corrected` and `targets` (all answers of the split, each
    once), `split` (its queries as well) and `all` (every video of the splits that are read).
    """

    name: str = "tf-covr"
    files: dict[str, str] = field(default_factory=lambda: {split: f"{split}_finegd.csv" for split in SPLITS})
    videos: str = "FineGD_videos"
    """The folder of `<video>.mp4`."""

    def annotation_files(self) -> Iterator[str]:
        yield from (self.files[split] for split in self.splits)

    def media_folders(self) -> Iterator[str]:
        yield self.videos

    def gather(self, split: str, rows: Rows) -> None:
        (self._train if split == "train" else self._queries)(split, rows)
        rows.gallery(f"{self.name}/all", rows.clip_ids)

    def _clip(self, record: Record, column: str, split: str, rows: Rows, label: str | None = None) -> str:
        video = record.name(column)
        return rows.clip(video, split, f"{self.videos}/{video}", label=label)

    def _train(self, split: str, rows: Rows) -> None:
        gallery = f"{self.name}/{split}/targets"
        targets: dict[str, None] = {}
        for record in read_csv(self.place.resolve(self.files[split]), TRAIN_COLUMNS):
            source, wanted = (record.text(column).strip() for column in ("label1", "label2"))
            query_clip = self._clip(record, "query_video", split, rows, source)
            target = self._clip(record, "target_video", split, rows, wanted)
            if query_clip == target:
                raise record.refuse("target_video", "the target is the query video")
            edits = record.record("modification")
            if wanted not in edits:
                raise record.refuse("modification", f"no entry for label2 {wanted}")
            wording = edits.record(wanted).text("modification")
            targets[target] = None
            rows.query(
                split,
                record.row - 1,
                query_clip,
                [wording],
                [target],
                target_label=wanted,
                galleries={"corrected": gallery},
            )
        rows.gallery(gallery, targets)

    def _queries(self, split: str, rows: Rows) -> None:
        names = ("targets", "split", "published")
        galleries = {name: f"{self.name}/{split}/{name}" for name in names} | {"all": f"{self.name}/all"}
        galleries["corrected"] = galleries["targets"]
        annotated: list[str] = []
        targets: dict[str, None] = {}
        queries: dict[str, None] = {}
        seen: set[int] = set()
        for record in read_csv(self.place.resolve(self.files[split]), TEST_COLUMNS):
            query_clip, target = (self._clip(record, column, split, rows) for column in ("query_video", "target_video"))
            if query_clip == target:
                raise record.refuse("target_video", "the target is the query video")
            answers = dict.fromkeys([target, *record.names("target_videos_ids")])
            for video in answers:
                rows.clip(video, split, f"{self.videos}/{video}")
            annotated.append(target)
            targets |= answers
            queries[query_clip] = None
            rows.query(
                split,
                record.new_integer("query_id", seen),
                query_clip,
                [record.text("modification")],
                answers,
                galleries=galleries,
            )
        rows.gallery(galleries["published"], annotated)
        rows.gallery(galleries["targets"], targets)
        rows.gallery(galleries["split"], targets | queries)
