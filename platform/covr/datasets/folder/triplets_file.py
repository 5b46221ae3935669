"""One's own triplets.csv: query, modification, target[, split][, id], a row for each wording and each target."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from covr.datasets.folder.csv_file import CsvFile
from covr.datasets.folder.listing import split_of, words
from covr.errors import UserError
from covr.storage.place import fingerprint
from covr.triplets.rows import split_galleries


@dataclass(kw_only=True, slots=True)
class Asked:
    """One query; rows of the same id, or of the same query and modification, are one."""

    id: str
    query: str
    modifications: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    split: str | None = None
    where: str = ""

    def row(self, split: str) -> dict[str, Any]:
        """As a row of the triplets table."""
        return {
            "query_id": self.id,
            "query_clip": self.query,
            "modifications": self.modifications,
            "target_clips": self.targets,
            "galleries": split_galleries(split),
            "split": split,
        }


def read_triplets(
    table: CsvFile, find: Callable[[str, str], str | None], known: Collection[str]
) -> tuple[list[Asked], list[tuple[str, str]]]:
    """The queries, and the clips that they lack: (clip as given, file and line); a row that lacks one is left out.

    Args:
        find: a clip's id from what a row calls it and where; None where there is none.
        known: the clip ids that were read and decode.

    Raises:
        UserError: a row without query, modification or target, or one that contradicts another.
    """
    asked: dict[str, Asked] = {}
    lacking: list[tuple[str, str]] = []
    for row in table.rows:
        text = words(row["modification"], "modification", row.where)
        if not (row["query"] and row["target"] and text):
            raise UserError("a row without query, modification or target", row.where, "fill it, or remove the row")
        found = {name: find(row[name], row.where) for name in ("query", "target")}
        gone = [(row[name], row.where) for name, clip in found.items() if clip is None or clip not in known]
        if gone:
            lacking += gone
            continue
        query, target = str(found["query"]), str(found["target"])
        if query == target:
            raise UserError("the query clip is its own target", row.where, "name another target")
        name = row["id"] or f"q{fingerprint(query, text)[:15]}"
        each = asked.setdefault(name, Asked(id=name, query=query, where=row.where))
        split = split_of(row["split"], row.where) or each.split
        if each.query != query or (each.split is not None and each.split != split):
            raise UserError(f"query {name!r} has two clips or two splits", f"{each.where} and {row.where}", "keep one")
        each.split = split
        each.modifications += [text] if text not in each.modifications else []
        each.targets += [target] if target not in each.targets else []
    return list(asked.values()), lacking
