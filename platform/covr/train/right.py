"""Which clips are right for which training triplets: what a loss must not count as a negative."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covr.tables import right_targets
from covr.train.vectors import Vectors


class RightAnswers:
    """Which clips are right for which triplets.

    Args:
        triplets: rows of the triplets table.
        vectors: gives clips their numbers.
    """

    def __init__(self, triplets: pa.Table, vectors: Vectors) -> None:
        targets = right_targets(triplets)
        self.clips = vectors.rows(targets.flatten().to_pylist())
        """Right answers of all triplets, one triplet after another."""
        self.counts = pc.list_value_length(targets).to_numpy().astype(np.int64)
        self.starts = np.cumsum(self.counts) - self.counts
        labels = triplets["target_label"].combine_chunks().dictionary_encode()
        self.labels = pc.fill_null(labels.indices, -1).to_numpy()
        self._num_clips = len(vectors.values)
        self._pairs = np.unique(np.repeat(np.arange(len(triplets)), self.counts) * self._num_clips + self.clips)

    def include(self, triplets: np.ndarray, clips: np.ndarray, clip_labels: np.ndarray) -> np.ndarray:
        """Whether a clip is right for a triplet: one of its answers, or of its target label. Shapes broadcast."""
        wanted = triplets * self._num_clips + clips
        listed = self._pairs[np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)] == wanted
        return listed | ((self.labels[triplets] == clip_labels) & (clip_labels >= 0))
