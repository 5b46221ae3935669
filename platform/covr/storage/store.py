"""A table in a place: parts in Parquet, published at once by a manifest or grown part by part.

A *published* table is what its manifest lists: `publish` writes new parts beside the old ones and then
replaces the manifest in one atomic write, so a reader sees the old rows or the new. A *growing* table
(features, quarantine) has no manifest: each part counts once it has its final name.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from covr import tables
from covr.errors import UserError
from covr.storage.place import Place, fingerprint

MANIFEST = "manifest.json"


class TableStore:
    """The table `name` (a key of `covr.tables.SCHEMAS`) in the folder `place`."""

    def __init__(self, place: Place, name: str) -> None:
        self.place, self.name, self.schema = place, name, tables.SCHEMAS[name]

    def write_part(self, part: str, table: pa.Table) -> None:
        """Write `<part>.parquet` whole or not at all; the same name again replaces it."""
        tables.check(table, self.name, str(self.place))
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        (self.place / f"{part}.parquet").write_bytes(buffer.getvalue())

    def publish(self, table: pa.Table, fingerprint_: str, rows_per_part: int = 1_000_000) -> None:
        """Replace all rows at once; `fingerprint_` says what they were made from."""
        parts = []
        for start in range(0, max(len(table), 1), rows_per_part):
            rows = table.slice(start, rows_per_part)
            part = f"part-{fingerprint_[:12]}-{start // rows_per_part:05d}"
            self.write_part(part, rows)
            parts.append({"name": f"{part}.parquet", "rows": len(rows)})
        (self.place / MANIFEST).write_json(
            {
                "table": self.name,
                "version": tables.VERSION,
                "fingerprint": fingerprint_,
                "rows": len(table),
                "parts": parts,
            }
        )
        keep = {part["name"] for part in parts}
        for stale in self.parts(all_files=True):
            if stale not in keep:
                (self.place / stale).remove()

    def manifest(self) -> dict | None:
        """What `publish` wrote, or None for a growing or absent table."""
        path = self.place / MANIFEST
        return path.read_json() if path.exists() else None

    def parts(self, all_files: bool = False) -> list[str]:
        """File names of the parts that count."""
        manifest = None if all_files else self.manifest()
        if manifest is not None:
            return [part["name"] for part in manifest["parts"]]
        return [name for name in self.place.list() if name.endswith(".parquet")]

    def exists(self) -> bool:
        return bool(self.parts())

    def read(self, columns: Sequence[str] | None = None, filters: object = None) -> pa.Table:
        """All rows; no parts of a growing table means no rows.

        Raises:
            UserError: a published table is incomplete, or its schema is another version's.
        """
        return pa.concat_tables(list(self.iter(columns, filters)) or [self._empty(columns)])

    def iter(self, columns: Sequence[str] | None = None, filters: object = None) -> Iterable[pa.Table]:
        """The rows part by part, in the order of the parts."""
        for part in self.parts():
            path = self.place / part
            try:
                with path.open() as file:
                    found = pq.read_schema(file)
                    tables.check(found.empty_table(), self.name, str(path))
                    file.seek(0)
                    yield pq.read_table(file, columns=columns, filters=filters)  # type: ignore[arg-type]
            except (FileNotFoundError, pa.ArrowInvalid) as error:
                raise UserError(
                    f"table {self.name!r} has a missing or damaged part ({type(error).__name__})",
                    str(path),
                    "run the step that writes it again",
                ) from error

    def _empty(self, columns: Sequence[str] | None) -> pa.Table:
        empty = self.schema.empty_table()
        return empty.select(list(columns)) if columns else empty

    def require(self, columns: Sequence[str] | None = None, filters: object = None, *, made_by: str) -> pa.Table:
        """`read`, but a table that was never written is the user's to make.

        Raises:
            UserError: naming the job (`made_by`) to run first.
        """
        if self.manifest() is None and not self.exists():
            raise UserError(f"table {self.name!r} is not there", str(self.place), f"run jobs/{made_by}.py first")
        return self.read(columns, filters)

    def content_fingerprint(self) -> str:
        """A hash of the published rows' origin, for the steps that read them."""
        manifest = self.manifest()
        return manifest["fingerprint"] if manifest else fingerprint(self.parts())
