"""Vectors made elsewhere, into the features table: the embed step where there is no encoder and no video."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from covr.checkpoints.vectors import vectors
from covr.embed.features import Features
from covr.embed.quarantine import Quarantine, check_budget
from covr.errors import UserError
from covr.models.video.stored import Stored, contents
from covr.report.console import say
from covr.storage import Place, TableStore

DECODER = "stored"
_PART_ROWS = 10_000
_AGREE = 1e-4  # largest difference of two files' vectors of one clip


def read_stored(
    root: Place, encoder: Stored, files: Sequence[str], max_bad_fraction: float, frames: bool = False
) -> dict[str, Any]:
    """Write the vectors of the clips of tables/clips as features; clips without one go to the quarantine.

    A matrix of T frames is pooled to its mean, of T x N tokens over the tokens first (as published).

    Args:
        files: those whose contents the encoder's fingerprint holds.
        frames: keep the vectors of the frames as well, where there are several.

    Returns:
        As of `covr.embed.job.embed`.

    Raises:
        UserError: other files than recorded, another width, files that disagree, or more clips without a vector than
            `max_bad_fraction`.
    """
    start = time.monotonic()
    if contents(files) != encoder.config.contents:
        raise UserError("other vectors than stage 1 recorded", ", ".join(files), "run jobs/pretrain.py again")
    features, quarantine = Features(root, encoder.fingerprint()), Quarantine(root, "embed")
    features.describe(encoder.sampling, DECODER)
    clips = TableStore(root / "tables/clips", "clips").require(made_by="ingest")
    key_of = dict(zip(clips["clip_id"].to_pylist(), features.keys(clips).to_pylist(), strict=True))
    waiting: list[dict[str, Any]] = []
    found = 0
    for clip_id, frames_TD in _each(files, encoder.dim, key_of):
        found += 1
        waiting.append(_row(clip_id, key_of[clip_id], "pooled", frames_TD.mean(axis=0)))
        if frames and len(frames_TD) > 1:
            waiting.append(_row(clip_id, key_of[clip_id], "frames", frames_TD))
        if len(waiting) >= _PART_ROWS:
            features.write(pa.Table.from_pylist(waiting, features.store.schema))
            waiting.clear()
    if waiting:
        features.write(pa.Table.from_pylist(waiting, features.store.schema))
    have = features.done("pooled")
    lacking = [work for work in key_of.items() if work not in have]
    uris = dict(zip(clips["clip_id"].to_pylist(), clips["uri"].to_pylist(), strict=True))
    if lacking:
        refusal = {"reason": "no-vector", "detail": f"not in {encoder.config.source}", "attempt": 1}
        quarantine.write([{"clip_id": one, "key": key, "uri": uris[one], **refusal} for one, key in lacking])
        say(f"  {len(lacking)} of {len(key_of)} clips have no vector; tables/quarantine lists them")
    check_budget(Counter({"no-vector": len(lacking)}), len(key_of), max_bad_fraction, quarantine)
    return {
        "rows": len(key_of) - len(lacking),
        "computed": found,
        "reused": 0,
        "quarantined": len(lacking),
        "seconds": round(time.monotonic() - start, 3),
        "encoder": encoder.fingerprint(),
        "place": str(features.place),
    }


def _row(clip_id: str, key: str, feature: str, value: np.ndarray) -> dict[str, Any]:
    return {"clip_id": clip_id, "key": key, "feature": feature, "value": value.ravel(), "shape": value.shape}


def _each(files: Sequence[str], dim: int, wanted: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """Every clip once, with its frame vectors (T, D)."""
    first: dict[str, np.ndarray] = {}  # the pooled vector of each clip, to compare those that come again
    for uri in files:
        for clip_id, value in vectors(Place(uri), wanted):
            frames_TD = _frames(value, dim, f"{uri}, {clip_id}")
            pooled_D = frames_TD.mean(axis=0)
            if clip_id not in first:
                first[clip_id] = pooled_D
                yield clip_id, frames_TD
            elif np.abs(first[clip_id] - pooled_D).max() > _AGREE:
                raise UserError(
                    f"two vectors of clip {clip_id} disagree",
                    uri,
                    "give one source, or make both with the same encoder",
                )


def _frames(value: np.ndarray, dim: int, where: str) -> np.ndarray:
    if value.shape[-1] != dim or value.ndim > 3:
        raise UserError(
            f"a vector of shape {value.shape}", where, f"set model.video.dim={value.shape[-1]}, which is {dim}"
        )
    if not np.isfinite(value).all():
        raise UserError("a vector is not finite", where, "compute it again")
    return np.atleast_2d(value.mean(axis=1) if value.ndim == 3 else value)
