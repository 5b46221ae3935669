"""Intervals by resampling clusters of queries.

Queries of one label pair share their right answers and their wording, so they rise and fall together: resampling
single queries would make the intervals too narrow. Whole pairs are drawn with replacement instead.
The intervals hold the model and the clips fixed; they do not contain the spread between training seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class ClusterBootstrap:
    """Draws of clusters, the same for every metric and every row, so that differences are paired.

    Args:
        clusters: one cluster name per query.
        num_draws: resamples.
        seed: of the draws.
    """

    def __init__(self, clusters: Sequence[str] | np.ndarray, num_draws: int = 1000, seed: int = 0) -> None:
        _, self._cluster_Q = np.unique(np.asarray(clusters), return_inverse=True)
        num_clusters = int(self._cluster_Q.max()) + 1
        self._sizes_C = np.bincount(self._cluster_Q, minlength=num_clusters)
        rng = np.random.default_rng(seed)
        self._weights_DC = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=num_draws)

    def means(self, values_Q: np.ndarray) -> np.ndarray:
        """(D,) the mean over the queries of each draw."""
        sums_C = np.bincount(self._cluster_Q, weights=values_Q, minlength=len(self._sizes_C))
        return (self._weights_DC @ sums_C) / (self._weights_DC @ self._sizes_C)

    def interval(self, values_Q: np.ndarray, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of the mean."""
        return percentile(self.means(values_Q), level)

    def gap(
        self,
        value_Q: np.ndarray,
        rivals: Sequence[np.ndarray],
        level: float = 0.95,
    ) -> tuple[float, tuple[float, float]]:
        """How far the mean of `value_Q` lies above the best rival's, and its paired interval."""
        observed = float(value_Q.mean()) - max(float(rival.mean()) for rival in rivals)
        draws_D = self.means(value_Q) - np.maximum.reduce([self.means(rival) for rival in rivals])
        return observed, percentile(draws_D, level)


def percentile(draws_D: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central interval that holds `level` of the draws."""
    low, high = np.quantile(draws_D, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
