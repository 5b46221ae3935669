"""What joint models read in training beside features and modifications, as keyword arguments of their `forward`.

Shapes: L rows of a batch, T frames of a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from covr.embed.read import SideFeatures
from covr.models import ComposedRetriever
from covr.models.joint import JointRetriever
from covr.storage import Place

EXTRAS = ("descriptions", "scores", "target_descriptions")
"""Names of the keyword arguments, and of what a batch holds for them."""


class Extras:
    """Descriptions of query clips, and the frames' scores of annotated targets.

    Args:
        root: storage root with the tables.
        retriever: whose `needs` decide.
        triplets: the training rows.
        asking: the query clips of training and validation.
        target_shape: of one target's stored feature; (T, ...) where it has frames.

    Raises:
        UserError: a query clip lacks the description that the model reads.
    """

    def __init__(
        self,
        root: Place,
        retriever: ComposedRetriever | JointRetriever,
        triplets: pa.Table,
        asking: Sequence[str],
        target_shape: tuple[int, ...],
    ) -> None:
        self.retriever = retriever
        self._clips: list[str] = triplets["query_clip"].to_pylist()
        clips = list(dict.fromkeys(asking))
        described = SideFeatures(root, retriever.train()).descriptions(clips)
        self._described = None if described is None else dict(zip(clips, described, strict=True))
        scores = triplets["target_weights"].to_pylist()
        self._scores: np.ndarray | None = None
        if len(target_shape) > 1 and any(scores):
            self._scores = np.full((len(scores), target_shape[0]), np.nan, np.float32)
            for row, found in enumerate(scores):
                if found is not None and len(found) == target_shape[0]:  # published: others weigh all frames alike
                    self._scores[row] = found

    def of_batch(self, rows: np.ndarray, annotated: np.ndarray) -> dict[str, Any]:
        """For training rows; `annotated` says where the drawn target is the one that the scores belong to."""
        found: dict[str, Any] = {}
        if self._described is not None:
            found["descriptions"] = [self._described[self._clips[row]] for row in rows]
        if self._scores is not None:
            found["scores"] = torch.from_numpy(np.where(annotated[:, None], self._scores[rows], np.nan))
        return found

    def of_queries(self, clips: Sequence[str]) -> dict[str, Any]:
        """For `embed_query`, in whichever mode the retriever is."""
        if self._described is None or self.retriever.needs.query_description is None:
            return {}
        return {"descriptions": [self._described[clip] for clip in clips]}
