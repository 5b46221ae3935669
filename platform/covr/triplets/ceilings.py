"""What the best possible ranking reaches that sees one half of a query only.

A data set on which the text alone, or the query clip alone, finds the answer does not measure composition.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence


def average_precision(before: int, relevant: int, k: int) -> float:
    """AP@k, normalised by min(relevant, k), when all right answers follow `before` wrong ones in one block."""
    ranks = range(1, min(relevant, k - before) + 1)
    return sum(j / (before + j) for j in ranks) / min(relevant, k)


def ceiling(queries: Iterable[tuple[Hashable, str]], sizes: dict[str, int], k: int = 10) -> float:
    """Mean AP@k of an oracle that sees only a cue, but knows every clip's label and how targets go with cues.

    Its best ranking is label by label, the likeliest first: no order within ten ranks beats a whole label.
    Expected over the queries exactly, nothing drawn.

    Args:
        queries: (cue, target label) of each query, e.g. what its text says, or its clip's label.
        sizes: label -> right answers in the gallery.
        k: where the ranking is cut.
    """
    targets: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for cue, target in queries:
        targets[cue][target] += 1
    total, number = 0.0, 0
    for counts in targets.values():
        before = 0
        for label, count in counts.most_common():
            if before < k:
                total += count * average_precision(before, sizes[label], k)
            before += sizes[label]
            number += count
    return total / number


def modality_ceilings(rows: Sequence[dict], labels: dict[str, str], said: dict[str, Hashable]) -> dict[str, float]:
    """mAP@10 of the oracle that sees only the text, and of the one that sees only the query clip's label.

    Args:
        rows: the triplets of one split.
        labels: clip_id -> label.
        said: pair name -> the most that the pair's modification says.
    """
    sizes = {row["target_label"]: len(row["target_clips"]) for row in rows}
    return {
        "text": ceiling(((said[row["tags"]["pair"]], row["target_label"]) for row in rows), sizes),
        "query": ceiling(((labels[row["query_clip"]], row["target_label"]) for row in rows), sizes),
    }
