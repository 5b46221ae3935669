"""From which score on a retriever's first answer is to be relied on, found on its validation queries.

The threshold is the lowest score at which the share of right first answers among all queries that reach it is at least
the level asked for. It stands beside the index under the retriever's fingerprint: scores of another one mean other
things. It holds for galleries like the validation one; a larger gallery has more clips that come near by chance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from covr.errors import UserError
from covr.storage import Place

_FEWEST = 30  # queries above a threshold: below that a share of right answers says little


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """When a first answer is called confident."""

    level: float
    """The share of right ones among them that was asked for."""
    score: float | None
    """The lowest score that reaches it; None: no score does."""
    share: float
    """Of the validation queries that reach the score."""
    queries: int
    """That it was found on."""

    @classmethod
    def of(cls, scores_Q: np.ndarray, right_Q: np.ndarray, level: float) -> Self:
        """Of validation queries.

        Args:
            scores_Q: of each query's first answer.
            right_Q: bool, whether that is a right one.
        """
        order = np.argsort(-scores_Q, kind="stable")
        scores, right = scores_Q[order], right_Q[order]
        counts = np.arange(1, len(scores) + 1)
        reaches = (np.cumsum(right) / counts >= level) & (counts >= _FEWEST)
        reaches &= np.append(scores[1:] < scores[:-1], True)  # equal scores are confident together
        found = np.flatnonzero(reaches)
        if not len(found):
            return cls(level=level, score=None, share=0.0, queries=len(scores))
        last = int(found[-1])
        return cls(level=level, score=float(scores[last]), share=(last + 1) / len(scores), queries=len(scores))

    def reached(self, score: float) -> bool:
        """Whether a first answer of this score is called confident."""
        return self.score is not None and score >= self.score

    @classmethod
    def read(cls, root: Place, retriever: str) -> Self | None:
        """What was found for a retriever, by its fingerprint; None where nothing was.

        Raises:
            UserError: the file is damaged.
        """
        place = _place(root, retriever)
        if not place.exists():
            return None
        try:
            return cls(**place.read_json())
        except (ValueError, TypeError):
            raise UserError("the thresholds of confidence are damaged", str(place), "run jobs/index.py again") from None

    def write(self, root: Place, retriever: str) -> None:
        """Put it beside the index."""
        _place(root, retriever).write_json(asdict(self))


def _place(root: Place, retriever: str) -> Place:
    return root / "index" / "confidence" / f"{retriever}.json"
