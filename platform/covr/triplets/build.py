"""Labelled clips and label pairs become the triplets of one split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from covr.triplets.pairs import LabelPair


def triplets(
    clips: Mapping[str, Sequence[str]],
    pairs: Sequence[LabelPair],
    *,
    split: str,
    per_pair: int,
    write: Callable[[LabelPair], list[str]],
    held_out: set[str],
    rng: np.random.Generator,
) -> list[dict]:
    """Rows of the triplets table: `per_pair` query clips for each pair, each with all right answers.

    Args:
        clips: label -> its clip ids in the split.
        pairs: what to ask.
        split: which split the rows belong to.
        per_pair: triplets of each pair; the source label's clips take turns, so all are used as often.
        write: the wordings of a pair's modification.
        held_out: names of the pairs that training never sees; told in the tag `seen`.
        rng: draws the order of the query clips and the annotated target.
    """
    turns = {label: list(rng.permutation(np.array(ids)).tolist()) for label, ids in clips.items()}
    used = dict.fromkeys(clips, 0)
    rows = []
    for pair in pairs:
        sources, targets = turns[pair.source], clips[pair.target]
        for _ in range(per_pair):
            query_clip = sources[used[pair.source] % len(sources)]
            used[pair.source] += 1
            annotated = targets[rng.integers(len(targets))]
            rows.append(
                {
                    "query_id": f"{split}-{len(rows):06d}",
                    "query_clip": query_clip,
                    "modifications": write(pair),
                    "target_clips": [annotated, *(clip for clip in targets if clip != annotated)],
                    "target_label": pair.target,
                    "tags": {
                        "edit": pair.edit,
                        "pair": pair.name,
                        "seen": "no" if pair.name in held_out else "yes",
                    },
                    "galleries": {"corrected": split, "published": f"{split}-targets"},
                    "split": split,
                }
            )
    return rows


def galleries(clips: Mapping[str, Sequence[str]], rows: Sequence[dict], split: str) -> list[dict]:
    """The two galleries of a split: each clip once, and the published one of the annotated targets, repeats kept."""
    every = [clip for ids in clips.values() for clip in ids]
    annotated = [row["target_clips"][0] for row in rows]
    return [
        {"gallery_id": gallery, "clip_id": clip}
        for gallery, ids in ((split, every), (f"{split}-targets", annotated))
        for clip in ids
    ]
