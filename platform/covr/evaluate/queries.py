"""The queries of one split and the galleries they are asked of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from covr.errors import UserError
from covr.evaluate.metrics import Protocol
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from covr.tables import right_targets


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What is left of a split where clips were refused."""

    queries: int
    """That can be asked: their clip and at least one right answer have a vector."""
    queries_given: int
    clips_refused: int
    """Clips of these queries and galleries that have none."""

    def __str__(self) -> str:
        clips = "1 clip was" if self.clips_refused == 1 else f"{self.clips_refused} clips were"
        return f"{self.queries} of {self.queries_given} queries are asked: {clips} refused"


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Triplets to answer, and the galleries' rows."""

    split: str
    triplets: pa.Table
    galleries: pa.Table
    origin: str
    """Fingerprint of the tables they were read from, and of what was left out."""
    coverage: Coverage | None = None
    """None: nothing was left out."""

    @classmethod
    def read(cls, root: Place, split: str) -> Queries:
        """From the tables under a storage root.

        Raises:
            UserError: no tables yet, or no triplets in this split.
        """
        stores = [TableStore(root / "tables" / name, name) for name in ("triplets", "galleries")]
        triplets, galleries = (store.require(made_by="ingest") for store in stores)
        known = sorted(set(triplets["split"].to_pylist()))
        triplets = triplets.filter(pc.equal(triplets["split"], split))
        if not len(triplets):
            raise UserError("no queries in this split", f"test.split={split}", f"choose one of {', '.join(known)}")
        origin = fingerprint(split, *(store.content_fingerprint() for store in stores))
        return cls(split=split, triplets=triplets, galleries=galleries, origin=origin)

    @classmethod
    def to_train(cls, root: Place, refused: Set[str] = frozenset()) -> tuple[Queries, Queries | None]:
        """The train split and, where the data set has one, the val split, without refused clips.

        Raises:
            UserError: no tables yet, or no train split.
        """
        splits = TableStore(root / "tables/triplets", "triplets").require(["split"], made_by="ingest")["split"]
        known = pc.unique(splits).to_pylist()
        if "train" not in known:
            fix = (
                "train on another data set, and take that retriever: model.finetune.max_epochs=0 model.ckpt.path=FOLDER"
            )
            raise UserError("there are no queries to train on", f"{root}: split {', '.join(sorted(known))}", fix)
        train, *val = (cls.read(root, split).without(refused) for split in ("train", "val") if split in known)
        return train, val[0] if val else None

    def __len__(self) -> int:
        return len(self.triplets)

    def without(self, refused: Set[str]) -> Queries:
        """Without clips that have no vector: as queries, as right answers and in the galleries.

        Raises:
            UserError: no query is left.
        """
        triplets = self.triplets.to_pylist()
        named = {clip for row in triplets for clip in (row["query_clip"], *row["target_clips"])}
        gone = refused & (named | set(self.galleries["clip_id"].to_pylist()))
        if not gone:
            return self
        kept = [left for row in triplets if (left := _without(row, gone)) is not None]
        if not kept:
            raise UserError(
                "every query of this split needs a clip that was refused",
                f"split {self.split}, {len(gone)} clips",
                "read the reasons in tables/quarantine",
            )
        present = pc.invert(pc.is_in(self.galleries["clip_id"], pa.array(sorted(gone), pa.string())))
        return replace(
            self,
            triplets=pa.Table.from_pylist(kept, schema=self.triplets.schema),
            galleries=self.galleries.filter(present),
            origin=fingerprint(self.origin, sorted(gone)),
            coverage=Coverage(queries=len(kept), queries_given=len(triplets), clips_refused=len(gone)),
        )

    def tagged(self, tags: Mapping[str, str]) -> Queries:
        """Only the queries that have all these tags.

        Raises:
            UserError: none has.
        """
        for name, value in tags.items():
            chosen = [tag == value for tag in self.tag(name)]
            if not any(chosen):
                known = sorted({tag for tag in self.tag(name) if tag})
                fix = f"choose one of {', '.join(known)}" if known else "leave it out"
                raise UserError("no query has this tag", f"test.only.{name}={value}", fix)
            self = replace(
                self,
                triplets=self.triplets.filter(pa.array(chosen)),
                origin=fingerprint(self.origin, name, value),
            )
        return self

    def answerable(self) -> Queries:
        """The queries with a right answer other than their own clip; none where the answers are hidden."""
        right, own = right_targets(self.triplets).to_pylist(), self.triplets["query_clip"].to_pylist()
        chosen = [bool(set(targets) - {clip}) for targets, clip in zip(right, own, strict=True)]
        return self if all(chosen) else replace(self, triplets=self.triplets.filter(pa.array(chosen)))

    @property
    def gallery(self) -> str:
        """The name of the corrected protocol's gallery, or how many there are."""
        names = set(self._gallery_of_each("corrected"))
        return names.pop() if len(names) == 1 else f"{len(names)} galleries"

    def has_gallery(self, name: str) -> bool:
        """Whether every query names a gallery of this kind."""
        return None not in self._named(name)

    def groups(self, protocol: str) -> Iterator[tuple[Queries, list[str]]]:
        """Queries that share a gallery of this name, with its rows' clip ids (repeated where the rows are)."""
        each = pa.array(self._gallery_of_each(protocol))
        for name in sorted(set(each.to_pylist())):
            clips = self.galleries.filter(pc.equal(self.galleries["gallery_id"], name))["clip_id"].to_pylist()
            yield replace(self, triplets=self.triplets.filter(pc.equal(each, name))), clips

    def gallery_rows(self, protocol: Protocol) -> pa.Table:
        """The clips that may answer, as rows of one column `clip_id`."""
        return pa.table({"clip_id": pa.array([clip for _, clips in self.groups(protocol) for clip in clips])})

    def texts(self) -> list[str]:
        """The first wording of each query's modification."""
        return pc.list_element(self.triplets["modifications"], 0).to_pylist()

    def every_wording(self) -> Queries:
        """Each wording of each modification as a query of its own, `<query_id>#<n>`."""
        rows = self.triplets.to_pylist()
        single = [
            {**row, "query_id": f"{row['query_id']}#{n}", "modifications": [text]}
            for row in rows
            for n, text in enumerate(row["modifications"])
        ]
        return replace(self, triplets=pa.Table.from_pylist(single, schema=self.triplets.schema))

    def tag(self, name: str) -> list[str | None]:
        """A tag of each query; None where it has none."""
        return [dict(tags or ()).get(name) for tags in self.triplets["tags"].to_pylist()]

    def _gallery_of_each(self, protocol: str) -> list[str]:
        named = self._named(protocol)
        if None in named:
            lacking = self.triplets["query_id"][named.index(None)].as_py()
            fix = "set test.protocol=corrected" if protocol == "published" else "run jobs/ingest.py again"
            raise UserError(f"a query names no gallery of the {protocol} protocol", f"triplets: query {lacking}", fix)
        return [str(name) for name in named]

    def _named(self, protocol: str) -> list[str | None]:
        return [dict(galleries or ()).get(protocol) for galleries in self.triplets["galleries"].to_pylist()]


def _without(row: dict[str, Any], gone: Set[str]) -> dict[str, Any] | None:
    """A triplet without refused right answers; None where it cannot be asked any more."""
    targets = row["target_clips"]
    kept = [place for place, clip in enumerate(targets) if clip not in gone]
    if row["query_clip"] in gone or (targets and not kept):
        return None
    grades = row["target_grades"]
    return {
        **row,
        "target_clips": [targets[place] for place in kept],
        "target_grades": grades and [grades[place] for place in kept],
        "target_weights": row["target_weights"] if kept[:1] == [0] else None,  # they are the annotated one's
    }
