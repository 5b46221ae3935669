"""Refused clips: written like results, left out of later runs, and too many of them fail the job."""

from __future__ import annotations

from collections import Counter

from covr import tables
from covr.clips.failure import TRANSIENT
from covr.errors import UserError
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint

_ATTEMPTS = 2  # of a clip refused for a reason that may lie in the machine


class Quarantine:
    """The quarantine table of a storage root, as one stage of the work sees it."""

    def __init__(self, root: Place, stage: str) -> None:
        self.store, self.stage = TableStore(root / "tables/quarantine", "quarantine"), stage

    def refusals(self) -> dict[tuple[str, str], tuple[int, str]]:
        """The latest attempt and its reason by (clip_id, key)."""
        latest: dict[tuple[str, str], tuple[int, str]] = {}
        for row in self.store.read(filters=[("stage", "=", self.stage), ("key", "!=", "")]).to_pylist():
            work = row["clip_id"], row["key"]
            latest[work] = max(latest.get(work, (0, "")), (row["attempt"], row["reason"]))
        return latest

    def write(self, rows: list[dict]) -> None:
        """Rows with clip_id, key, uri, reason, detail and attempt, as one part; the same rows replace themselves."""
        name = fingerprint(sorted((row["clip_id"], row["key"], row["attempt"]) for row in rows))
        part = [{**row, "stage": self.stage} for row in rows]
        self.store.write_part(f"quarantine-{name}", tables.from_rows("quarantine", part))


def settled(attempt: int, reason: str) -> bool:
    """Whether a clip refused at this attempt is not to be tried again."""
    return reason not in TRANSIENT or attempt >= _ATTEMPTS


def check_budget(reasons: Counter[str], total: int, max_bad_fraction: float, quarantine: Quarantine) -> None:
    """Fail once more clips are refused than the job may lose.

    Raises:
        UserError: naming the reasons and where to read more.
    """
    refused = reasons.total()
    if refused > max_bad_fraction * total:
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise UserError(
            f"{refused} of {total} clips are refused ({told}), allowed are {max_bad_fraction:.0%}",
            str(quarantine.store.place),
            "mend or remove those files and run jobs/ingest.py again, or raise machine.max_bad_fraction",
        )
