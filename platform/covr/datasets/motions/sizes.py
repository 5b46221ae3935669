"""How large `motions` is: its grid of labels, clips per label and split, triplets."""

from __future__ import annotations

from dataclasses import dataclass

from covr.datasets.motions.grammar import Label, grid


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """One size of the data set."""

    labels: tuple[Label, ...]
    train: int
    """Clips per label; `val` and `test` likewise."""
    val: int
    test: int
    two_attribute_pairs: int
    """Of all pairs that differ in two attributes, so many are asked for; pairs that differ in one are all asked for."""
    queries_per_pair: tuple[int, int, int]
    """Query clips of a label pair in train, val, test."""
    measures: bool = True
    """Large enough to compare models on: its single-modality ceilings are held to the bound."""


SIZES = {
    "tiny": Size(
        labels=tuple(grid(("floor", "beam"), ("back flip", "cartwheel"), (1, 2))),
        train=3,
        val=2,
        test=3,
        two_attribute_pairs=30,
        queries_per_pair=(3, 1, 1),
        measures=False,  # sixteen labels cannot hide the answer from an oracle; only made to run fast
    ),
    # Ten test clips a label: as many right answers as mAP@10 has ranks, so that its two normalisations
    # in use, by min(right answers, 10) and by right answers, agree.
    "small": Size(labels=tuple(grid()), train=24, val=4, test=10, two_attribute_pairs=270, queries_per_pair=(10, 1, 3)),
    "full": Size(labels=tuple(grid()), train=48, val=8, test=10, two_attribute_pairs=720, queries_per_pair=(16, 1, 4)),
}
