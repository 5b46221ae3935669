"""Is one run better than another on the same queries, or could it be chance?

Queries of one label pair rise and fall together (see `covr.evaluate.bootstrap`), so both answers here take a whole
pair as the unit: the interval resamples pairs, and the test exchanges the two runs' values for a whole pair at once.
Both hold the models and the clips fixed: they do not contain the spread between training seeds.

    Q queries  C clusters  D draws
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covr.evaluate.bootstrap import ClusterBootstrap, percentile

EXACT = 12
"""Up to so many clusters all exchanges (4096) are tried, and beyond them random ones."""
_BLOCK = 1000  # draws held at once
_NEARLY = 1e-12  # of the sum of all differences: what sums in another order may differ by


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How far the mean of one run lies above another's."""

    mean: float
    interval: tuple[float, float]
    """95 %, by the paired bootstrap."""
    p: float
    """Of the two-sided randomisation test: how often exchanged runs differ at least so much."""


def paired(
    value_Q: np.ndarray,
    other_Q: np.ndarray,
    clusters: Sequence[str] | np.ndarray,
    num_draws: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Compare two runs by their values for the same queries.

    The test is Fisher's randomisation test: under the hypothesis that the runs are alike, their values for a cluster
    may be exchanged. With more than `EXACT` clusters random exchanges are drawn, and p is (hits + 1) / (draws + 1),
    which never is 0 (Phipson and Smyth 2010).

    Args:
        value_Q, other_Q: a metric's value for each query, of both runs.
        clusters: one cluster name per query.
    """
    difference_Q = value_Q - other_Q
    _, cluster_Q = np.unique(np.asarray(clusters), return_inverse=True)
    sum_C = np.bincount(cluster_Q, weights=difference_Q)
    observed = abs(sum_C.sum()) - _NEARLY * np.abs(sum_C).sum()
    if len(sum_C) <= EXACT:
        bits_DC = (np.arange(2 ** len(sum_C))[:, None] >> np.arange(len(sum_C))) & 1
        p = float((np.abs((1 - 2 * bits_DC) @ sum_C) >= observed).mean())
    else:
        rng = np.random.default_rng(seed)
        blocks = [min(_BLOCK, num_draws - start) for start in range(0, num_draws, _BLOCK)]
        hits = sum(
            int((np.abs((1.0 - 2.0 * rng.integers(0, 2, (size, len(sum_C)))) @ sum_C) >= observed).sum())
            for size in blocks
        )
        p = (hits + 1) / (num_draws + 1)
    draws_D = ClusterBootstrap(clusters, 1000, seed).means(difference_Q)
    return Difference(mean=float(difference_Q.mean()), interval=percentile(draws_D), p=p)


def holm(p: Sequence[float]) -> list[float]:
    """p values of several tests, adjusted so that one false alarm among them all stays as rare as asked (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    steps = [min(1.0, (len(p) - rank) * p[place]) for rank, place in enumerate(order)]
    adjusted[order] = np.maximum.accumulate(steps) if len(p) else []
    return adjusted.tolist()
