"""EgoCVR (Hummel et al., ECCV 2024): composed retrieval of fine actions in Ego4D's first-person videos, for testing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from covr.datasets.annotations import read_csv
from covr.datasets.benchmark import Benchmark
from covr.datasets.record import Record
from covr.datasets.rows import Rows


@dataclass(frozen=True, kw_only=True)
class EgoCVR(Benchmark):
    """`egocvr_annotations.csv` (queries) and `egocvr_data.csv` (clips, with their narrations).

    Galleries of a query: `corrected` and `global` (all clips) and `local` (the clips of the same source video); with
    `gallery` as that file says. Narrations become texts of the clips, the rewritten captions texts of the queries.
    """

    name: str = "egocvr"
    splits: tuple[str, ...] | list[str] = ("test",)
    annotations: str = "egocvr_annotations.csv"
    clips: str = "egocvr_data.csv"
    videos: str = "egocvr_clips"
    """The folder of `<video_uid>/<clip_name>.mp4`."""
    gallery: str | None = None
    """The published gallery CSV: in the order of the queries, lists `global_idx` and `local_idx`."""
    gallery_index: str | None = None
    """The CSV whose rows (column `clip_name`) those lists count from 0; null: `clips`."""

    known_splits: ClassVar[tuple[str, ...]] = ("test",)

    def annotation_files(self) -> Iterator[str]:
        yield from (path for path in (self.annotations, self.clips, self.gallery, self.gallery_index) if path)

    def media_folders(self) -> Iterator[str]:
        yield self.videos

    def gather(self, split: str, rows: Rows) -> None:
        video_of: dict[str, str] = {}
        listed: list[str] = []
        for record in read_csv(self.place.resolve(self.clips), ("clip_name", "narration_text", "video_uid")):
            clip, video = record.name("clip_name"), record.name("video_uid")
            if video_of.setdefault(clip, video) != video:
                raise record.refuse("video_uid", f"{clip} is of video {video_of[clip]} in an earlier row")
            listed.append(rows.clip(clip, split, f"{self.videos}/{video}/{clip}", source_video=video))
            rows.text(clip, "narration", record.text("narration_text"))
        of_video = defaultdict(list)
        for clip, video in video_of.items():
            of_video[video].append(clip)
        everything = rows.gallery(f"{self.name}/global", video_of)
        for video, clips in of_video.items():
            rows.gallery(f"{self.name}/local/{video}", clips)
        published = self._published(rows, listed) if self.gallery else None
        columns = ("video_clip_id", "target_clip_ids", "instruction", "modified_captions")
        for record in read_csv(self.place.resolve(self.annotations), columns):
            clip, targets = record.name("video_clip_id"), record.names("target_clip_ids")
            if not targets:
                raise record.refuse("target_clip_ids", "a query without a target")
            for field, one in (("video_clip_id", clip), *(("target_clip_ids", target) for target in targets)):
                if one not in video_of:
                    raise record.refuse(field, f"{one} is not in {self.clips}")
            number = record.row - 1
            rows.text(rows.query_id(split, number), "rewritten", record.text("modified_captions"))
            galleries = {"global": everything, "local": f"{self.name}/local/{video_of[clip]}"}
            if published is not None:
                if number >= len(published):
                    raise record.refuse("video_clip_id", f"{self.gallery} has only {len(published)} rows")
                galleries = published[number]
            galleries["corrected"] = galleries["global"]
            rows.query(split, number, clip, [record.text("instruction")], targets, galleries=galleries)

    def _published(self, rows: Rows, listed: Sequence[str]) -> list[dict[str, str]]:
        """The galleries of each query by the published file; equal ones are stored once."""
        if self.gallery_index:
            index = read_csv(self.place.resolve(self.gallery_index), ("clip_name",))
            listed = [record.name("clip_name") for record in index]
        known: dict[tuple[int, ...], str] = {}

        def gallery(record: Record, field: str, kind: str) -> str:
            chosen = tuple(sorted(set(record.integers(field))))
            if not chosen or chosen[0] < 0 or chosen[-1] >= len(listed):
                raise record.refuse(field, f"not indices of {len(listed)} clips")
            if chosen not in known:
                clips = dict.fromkeys(listed[index] for index in chosen)
                known[chosen] = rows.gallery(f"{self.name}/{kind}/row-{record.row - 1}", clips)
            return known[chosen]

        records = read_csv(self.place.resolve(str(self.gallery)), ("global_idx", "local_idx"))
        return [{kind: gallery(record, f"{kind}_idx", kind) for kind in ("global", "local")} for record in records]
