"""What a computed row was made from, as one hash; work is done once per (clip_id, key)."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import pyarrow as pa

from covr.clips.sampling import Sampling
from covr.errors import UserError
from covr.storage.place import fingerprint


def keys(clips: pa.Table, encoder: str, sampling: Sampling, decoder: str) -> pa.Array:
    """The key of each row of `clips`: 32 hexadecimal digits of a SHA-256.

    Args:
        clips: with the columns sha256, start_s, end_s of `covr.tables.CLIPS`.
        encoder: fingerprint of what the frames go through.
        decoder: `covr.clips.version` of the decoder.

    Raises:
        UserError: a clip without its hash, whose change would go unseen.
    """
    hashes = clips["sha256"].to_pylist()
    if None in hashes:
        clip_id = clips["clip_id"][hashes.index(None)].as_py()
        raise UserError("a clip has no sha256", f"tables/clips, {clip_id}", "run jobs/ingest.py again")
    work = fingerprint(encoder, asdict(sampling), decoder)
    stretches = zip(hashes, clips["start_s"].to_pylist(), clips["end_s"].to_pylist(), strict=True)
    return pa.array(
        [hashlib.sha256(f"{work} {sha} {start} {end}".encode()).hexdigest()[:32] for sha, start, end in stretches],
        pa.string(),
    )
