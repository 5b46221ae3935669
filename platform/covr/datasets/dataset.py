"""What a reader yields, and the checks that every reader's output passes before it is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from covr import tables
from covr.errors import UserError
from covr.storage import Place

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The tables of a data set (see `covr.tables`), clip files already below the storage root or elsewhere by URI."""

    clips: pa.Table
    texts: pa.Table
    triplets: pa.Table
    galleries: pa.Table
    quarantine: pa.Table
    facts: Mapping[str, float] = field(default_factory=dict)
    """Figures that the reader worked out about the data set, for the step's result and MLflow."""


class Reader(Protocol):
    """Turns a benchmark, a folder or a generator into a Dataset."""

    name: str

    def fingerprint(self) -> str:
        """A hash of what is read besides the reader's own options; another one means reading again."""

    def read(self, root: Place) -> Dataset:
        """The whole data set; files that the reader makes go below `root`."""


def validate(dataset: Dataset, where: str) -> Dataset:
    """Return the data set if its tables fit each other.

    Raises:
        UserError: the first thing that does not fit, with the row's id.
    """
    for name in ("clips", "texts", "triplets", "galleries", "quarantine"):
        tables.check(getattr(dataset, name), name, f"{where}: {name}")
    clip_splits = dict(zip(*(dataset.clips[name].to_pylist() for name in ("clip_id", "split")), strict=True))
    triplets = dataset.triplets.to_pylist()
    members: dict[str, set[str]] = {}
    for row in dataset.galleries.to_pylist():
        members.setdefault(row["gallery_id"], set()).add(row["clip_id"])

    _unique(dataset.clips["clip_id"].to_pylist(), "clip_id", where)
    _unique((row["query_id"] for row in triplets), "query_id", where)
    for clip_id, split in clip_splits.items():
        if split not in SPLITS:
            raise _bad(f"unknown split {split!r}", f"{where}: clip {clip_id}", f"use one of {', '.join(SPLITS)}")
    for gallery, ids in members.items():
        _known(ids, clip_splits, f"{where}: gallery {gallery}")
    owners = clip_splits.keys() | {row["query_id"] for row in triplets}
    _known(dataset.texts["owner_id"].to_pylist(), owners, f"{where}: texts")
    for row in triplets:
        _check_triplet(row, clip_splits, members, f"{where}: query {row['query_id']}")
    return dataset


def _check_triplet(row: dict, clip_splits: dict[str, str], members: dict[str, set[str]], where: str) -> None:
    targets = row["target_clips"] or []
    if not targets or not row["modifications"]:
        raise _bad("a triplet needs a modification and a target", where, "leave the row out, or complete it")
    _known([row["query_clip"], *targets], clip_splits, where)
    _unique(targets, "target", where)
    if row["query_clip"] in targets:
        raise _bad("the query's own clip is among its right answers", where, "leave it out of the targets")
    strays = {clip_splits[clip] for clip in [row["query_clip"], *targets]} - {row["split"]}
    if strays:
        raise _bad(f"clips of split {strays.pop()!r} in a triplet of {row['split']!r}", where, "keep splits apart")
    grades = row["target_grades"]
    if grades is not None and len(grades) != len(targets):
        raise _bad(f"{len(grades)} grades for {len(targets)} targets", where, "give one grade a target")
    for protocol, gallery in row["galleries"] or []:
        if gallery not in members:
            raise _bad(f"gallery {gallery!r} of protocol {protocol!r} is empty or absent", where, "add its rows")
        if targets[0] not in members[gallery]:
            raise _bad(f"the annotated target is not in gallery {gallery!r}", where, "add it to the gallery")


def _unique(ids: Iterable[str], what: str, where: str) -> None:
    repeated = next((id_ for id_, times in Counter(ids).items() if times > 1), None)
    if repeated is not None:
        raise _bad(f"{what} {repeated!r} is there twice", where, "give every row an id of its own")


def _known(ids: Iterable[str], known: Iterable[str], where: str) -> None:
    unknown = set(ids) - set(known)
    if unknown:
        raise _bad(f"{min(unknown)!r} is not in the clips table", where, "add the clip, or leave the row out")


def _bad(what: str, where: str, fix: str) -> UserError:
    return UserError(what, where, fix)


def counts(dataset: Dataset) -> dict[str, int]:
    """Rows of each split, e.g. `clips/train`, `triplets/test`, and of the whole small tables."""
    found = {}
    for name, table in (("clips", dataset.clips), ("triplets", dataset.triplets)):
        for entry in pc.value_counts(table["split"]).to_pylist():
            found[f"{name}/{entry['values']}"] = entry["counts"]
    return {**found, "texts": len(dataset.texts), "quarantine": len(dataset.quarantine)}
