"""Which clips have no vector because embedding refused them."""

from __future__ import annotations

import pyarrow as pa

from covr.embed.features import Features
from covr.embed.quarantine import Quarantine
from covr.storage import Place, TableStore


def refused(root: Place, encoder: str) -> frozenset[str]:
    """The clips of tables/clips that are in quarantine under an encoder's fingerprint, and without any feature.

    A clip that lacks its vector for any other reason is not among them: reading it stays an error.

    Raises:
        UserError: ingest was not run, or nothing was embedded with this encoder.
    """
    columns = ["clip_id", "sha256", "start_s", "end_s"]
    clips = TableStore(root / "tables/clips", "clips").require(columns, made_by="ingest")
    return refused_among(root, encoder, clips)


def refused_among(root: Place, encoder: str, clips: pa.Table) -> frozenset[str]:
    """`refused`, of the given rows of the clips table only."""
    quarantined = Quarantine(root, "embed").refusals()
    if not quarantined:
        return frozenset()
    features = Features(root, encoder)
    works = set(zip(clips["clip_id"].to_pylist(), features.keys(clips).to_pylist(), strict=True))
    return frozenset(clip_id for clip_id, _ in (works & quarantined.keys()) - features.done())
