"""The files of vectors that stage 2 reads, written from the features table unless they are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from covr.embed.read import SideFeatures, pooled
from covr.evaluate.queries import Queries
from covr.models.video.encoder import VideoEncoder
from covr.storage import Place
from covr.storage.place import fingerprint
from covr.tables import right_targets
from covr.train.vectors import Vectors


def pooled_file(root: Place, queries: list[Queries], video: VideoEncoder) -> dict[str, Any]:
    """The file of all vectors that stage 2 reads, written from the features table unless it is there."""
    encoder, clip_ids = video.fingerprint(), sorted({*_asking(queries), *_answering(queries)})
    return {"vectors": _written(root, (encoder, "pooled"), clip_ids, partial(pooled, root, encoder, clip_ids))}


def side_files(root: Place, queries: list[Queries], features: SideFeatures) -> dict[str, Any]:
    """A file of what each side reads."""
    asking, answering = sorted(_asking(queries)), sorted(_answering(queries))
    target = _written(
        root, (features.target_encoder, features.needs.target_feature), answering, partial(features.target, answering)
    )
    query = _written(
        root, (str(features.query_encoder), features.needs.query_feature), asking, partial(features.query, asking)
    )
    return {"vectors": target, "query_vectors": query}


def _written(root: Place, what: Sequence[str | None], clip_ids: list[str], read: Callable[[], np.ndarray]) -> Place:
    """`what`: the encoder, and which of its features: the same clips have several."""
    place = root / "finetune" / "vectors" / f"{fingerprint(what, clip_ids)[:16]}.arrow"
    if not place.exists():
        Vectors.write(place, clip_ids, read())
    return place


def _asking(queries: list[Queries]) -> set[str]:
    return {clip for split in queries for clip in split.triplets["query_clip"].to_pylist()}


def _answering(queries: list[Queries]) -> set[str]:
    """Right answers, and the galleries of validation."""
    found = {clip for split in queries for _, clips in split.groups("corrected") for clip in clips}
    return found.union(*(right_targets(split.triplets).flatten().to_pylist() for split in queries))
