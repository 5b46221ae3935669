"""The queries of one split and the galleries they are asked of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from covr.errors import UserError
from covr.evaluate.metrics import Protocol
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Triplets to answer, and the galleries' rows."""

    split: str
    triplets: pa.Table
    galleries: pa.Table
    origin: str
    """Fingerprint of the tables they were read from."""

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

    def __len__(self) -> int:
        return len(self.triplets)

    @property
    def gallery(self) -> str:
        """The name of the corrected protocol's gallery, or how many there are."""
        names = set(self._gallery_of_each("corrected"))
        return names.pop() if len(names) == 1 else f"{len(names)} galleries"

    def groups(self, protocol: Protocol) -> Iterator[tuple[Queries, list[str]]]:
        """Queries that name the same gallery for a protocol, with its rows' clip ids (repeated where the rows are)."""
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

    def _gallery_of_each(self, protocol: Protocol) -> list[str]:
        named = [dict(galleries or ()).get(protocol) for galleries in self.triplets["galleries"].to_pylist()]
        if None in named:
            lacking = self.triplets["query_id"][named.index(None)].as_py()
            fix = "set test.protocol=corrected" if protocol == "published" else "run jobs/ingest.py again"
            raise UserError(f"a query names no gallery of the {protocol} protocol", f"triplets: query {lacking}", fix)
        return [str(name) for name in named]
