"""How far one modality alone could get: the mAP@10 of oracles that lack the other.

A data set on which the text alone, or the query's label alone, tells the answer does not measure composition. Both
oracles know the label of every clip in the gallery and how often each label pair is asked for; they rank whole labels,
the likeliest first, which is the best that can be done with what they see. The clips of a label stand in any order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

K = 10


def oracle_map(evidence: Sequence[Hashable], targets: Sequence[str], label_sizes: Mapping[str, int]) -> float:
    """Mean AP@10 (normalised by min(right answers, 10)) of ranking labels by their frequency given the evidence.

    Args:
        evidence: what the oracle sees of each query; equal evidence gets the same ranking.
        targets: the target label of each query; all clips of that label in the gallery are right.
        label_sizes: clips of each label in the gallery.
    """
    seen: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for sight, target in zip(evidence, targets, strict=True):
        seen[sight][target] += 1
    total = 0.0
    for counts in seen.values():
        before = 0
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            total += count * _average_precision(before, label_sizes[label])
            before += label_sizes[label]
    return total / len(targets)


def _average_precision(before: int, num_right: int) -> float:
    """AP@10 where `before` wrong answers come first and then all `num_right` right ones."""
    hits = range(1, max(min(K - before, num_right), 0) + 1)
    return sum(hit / (before + hit) for hit in hits) / min(num_right, K)
