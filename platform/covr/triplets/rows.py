"""Rows of the triplets and galleries tables, as every data set that is composed from labels has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from covr.storage.place import fingerprint
from covr.triplets.pairs import Pair


def triplet(
    split: str, pair: Pair, query: str, annotated: str, targets: Sequence[str], texts: Sequence[str], *, seen: bool
) -> dict[str, Any]:
    """A query of a label pair: every clip of the target label is right, the annotated one first.

    Args:
        seen: whether the train split asks for this pair.
    """
    return {
        "query_id": f"q{fingerprint(split, str(pair), query)[:15]}",
        "query_clip": query,
        "modifications": list(texts),
        "target_clips": [annotated, *(clip for clip in targets if clip != annotated)],
        "target_label": pair.target,
        "tags": {"edit": pair.edit, "pair": str(pair), "seen": "yes" if seen else "no"},
        "galleries": split_galleries(split),
        "split": split,
    }


def split_galleries(split: str) -> dict[str, str]:
    """What each protocol's gallery of a split is called."""
    return {"corrected": split, "published": f"{split}-targets"}


def galleries(split: str, clips: Sequence[str], triplets: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Both galleries of a split: its clips once each, and a row for each annotated target of its triplets."""
    names = split_galleries(split)
    rows = [{"gallery_id": names["corrected"], "clip_id": clip} for clip in clips]
    return rows + [
        {"gallery_id": names["published"], "clip_id": row["target_clips"][0]}
        for row in triplets
        if row["split"] == split
    ]
