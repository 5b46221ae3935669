"""A ranking under judgement: each step of a protocol is one method, and `judge` counts what is right.

Q queries, R ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from covr.errors import UserError
from covr.evaluate import lists
from covr.evaluate.metrics import Answers, percent
from covr.evaluate.truth import Truth

Measure = Callable[[Answers], dict[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One reading of a ranking: metrics in percent."""

    metrics: Mapping[str, float]
    queries: int
    """How many queries the means are over."""
    notes: tuple[str, ...] = ()
    """What a reader has to know beside the numbers."""

    def plain(self) -> dict[str, Any]:
        """As a JSON value."""
        metrics = {name: round(value, 6) for name, value in self.metrics.items()}
        return {"queries": self.queries, "metrics": metrics, "notes": list(self.notes)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One way to read a ranking."""

    gallery: str
    """The gallery of the annotations that it is about."""
    read: Callable[[Ranking], Column]
    optional: bool = False
    """Left out where the annotations do not give the gallery."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Ranked lists of all queries of `truth`, as protocols change them; nothing is changed in place."""

    truth: Truth
    ranked_QR: np.ndarray
    """Clip numbers; see `covr.evaluate.lists`."""
    own_counts: bool = True
    """Whether the query's own clip, where it is annotated, is a right answer."""
    gallery_Q: np.ndarray | None = None
    """Size of the gallery that each list ranks; None: not known."""
    holds_own_Q: np.ndarray | None = None
    """Whether that gallery holds the query's own clip."""
    chosen_Q: np.ndarray | None = None
    """Whether a query is judged; None: all are."""
    least_gallery: int = 0
    """Queries over a smaller gallery are not judged."""
    notes: tuple[str, ...] = ()

    def within(self, gallery: str) -> Ranking:
        """Only the answers that are in the gallery; those behind move up.

        Raises:
            UserError: the annotations do not give this gallery, or it holds no answer at all.
        """
        repeated = lists.repeats(self.ranked_QR).any()
        outside_QR = np.zeros(self.ranked_QR.shape, bool)
        sizes_Q = np.zeros(len(self.truth), np.int64)
        holds_own_Q = np.zeros(len(self.truth), bool)
        is_member_C = np.zeros(len(self.truth.vocabulary) + 1, bool)  # the last one stands for ABSENT
        for rows_Q, clips_G in self.truth.gallery(gallery):
            is_member_C[clips_G] = True
            outside_QR[rows_Q] = ~is_member_C[self.ranked_QR[rows_Q]]
            sizes_Q[rows_Q] = len(clips_G) if repeated else len(np.unique(clips_G))
            holds_own_Q[rows_Q] = is_member_C[self.truth.own_Q[rows_Q]]
            is_member_C[clips_G] = False
        outside_QR &= self.ranked_QR != lists.ABSENT
        ranked_QR = lists.drop(self.ranked_QR, outside_QR)
        if not lists.lengths(ranked_QR).any():
            where = f"gallery {gallery}: {self._name(self.ranked_QR[0, 0])}"
            raise UserError("no answer is in the gallery", where, "give clips by their published names")
        note = (f"{int(outside_QR.sum())} answers outside the {gallery} gallery left out",) if outside_QR.any() else ()
        return replace(self, ranked_QR=ranked_QR, gallery_Q=sizes_Q, holds_own_Q=holds_own_Q, notes=self.notes + note)

    def of(self, chosen_Q: np.ndarray) -> Ranking:
        """Only the chosen queries are judged."""
        return replace(self, chosen_Q=chosen_Q)

    def without_own(self) -> Ranking:
        """The query's own clip is no answer, neither in the list nor in the annotations."""
        others_Q = None if self.gallery_Q is None else self.gallery_Q - self.holds_own_Q
        return replace(self.without(self._own_QR()), own_counts=False, gallery_Q=others_Q, holds_own_Q=None)

    def without(self, marked_QR: np.ndarray) -> Ranking:
        """The lists without the marked answers."""
        return replace(self, ranked_QR=lists.drop(self.ranked_QR, marked_QR))

    def own_last(self) -> Ranking:
        """The query's own clip behind every other answer, as a masked score puts it."""
        return self.put_last(self._own_QR())

    def put_last(self, marked_QR: np.ndarray) -> Ranking:
        """The marked answers behind every other one."""
        lengths_Q = lists.lengths(self.ranked_QR)
        complete_Q = np.zeros(len(self.truth), bool) if self.gallery_Q is None else lengths_Q >= self.gallery_Q
        return replace(self, ranked_QR=lists.put_last(self.ranked_QR, marked_QR, complete_Q))

    def once(self) -> Ranking:
        """Each clip at its best rank only."""
        repeated_QR = lists.repeats(self.ranked_QR)
        note = (f"{int(repeated_QR.sum())} repeated answers left out",) if repeated_QR.any() else ()
        return replace(self.without(repeated_QR), notes=self.notes + note)

    def refuse_repeats(self) -> Ranking:
        """Itself.

        Raises:
            UserError: a clip answers one query twice.
        """
        repeated_QR = lists.repeats(self.ranked_QR)
        if repeated_QR.any():
            query, rank = np.argwhere(repeated_QR)[0]
            where = f"query {self.truth.query_ids[int(query)].as_py()}: {self._name(self.ranked_QR[query, rank])}"
            raise UserError("a clip answers one query twice", where, "rank each clip once")
        return self

    def in_rows_of(self, gallery: str, depth: int) -> Ranking:
        """Each answer as often as the gallery has rows for it; lists that repeat clips already stay as they are."""
        if lists.repeats(self.ranked_QR).any():
            return self
        ((_, clips_G),) = self.truth.gallery(gallery)
        rows_C = np.bincount(clips_G, minlength=len(self.truth.vocabulary))
        gallery_Q = np.full(len(self.truth), len(clips_G))
        return replace(self, ranked_QR=lists.multiply(self.ranked_QR, rows_C, depth), gallery_Q=gallery_Q)

    def judge(self, measure: Measure, deepest: int) -> Column:
        """Metrics of the lists as they are now.

        Args:
            measure: per-query values (shares) of the answers.
            deepest: the last rank that `measure` looks at.

        Raises:
            UserError: the right answers are hidden, or no query is left to judge.
        """
        if self.truth.hidden:
            fix = "score a split with targets; the benchmark's server judges this one"
            raise UserError("these annotations hold no right answers", f"{len(self.truth)} queries", fix)
        answers, judged_Q = self.answers()
        num_judged = int(judged_Q.sum())
        if not num_judged:
            raise UserError("no query is left to judge", f"{len(self.truth)} queries", "see the annotations' targets")
        notes = self.notes
        num_chosen = len(judged_Q) if self.chosen_Q is None else int(self.chosen_Q.sum())
        if num_judged < num_chosen:
            notes += (f"{num_chosen - num_judged} queries without a right answer or a choice left out",)
        wanted_Q = np.full(len(judged_Q), deepest) if self.gallery_Q is None else np.minimum(self.gallery_Q, deepest)
        short = int((lists.lengths(self.ranked_QR) < wanted_Q)[judged_Q].sum())
        if short:
            notes += (f"{short} queries have fewer than {deepest} answers: the missing ones count as wrong",)
        return Column(metrics=percent(measure(answers)), queries=num_judged, notes=notes)

    def answers(self) -> tuple[Answers, np.ndarray]:
        """What is right in the lists of the queries that can be judged, and which those are (Q,)."""
        num_clips = len(self.truth.vocabulary)
        query_M, clip_M, grade_M = self.truth.targets
        right_M = grade_M >= 1
        annotated_Q = self.truth.annotated_Q
        if not self.own_counts:
            right_M &= clip_M != self.truth.own_Q[query_M]
            annotated_Q = np.where(annotated_Q == self.truth.own_Q, lists.ABSENT, annotated_Q)
        right_pairs = np.unique(query_M[right_M] * num_clips + clip_M[right_M])
        relevant_Q = np.bincount(right_pairs // num_clips, minlength=len(self.truth))
        judged_Q = relevant_Q > 0
        if self.gallery_Q is not None:
            judged_Q &= self.gallery_Q >= self.least_gallery
        if self.chosen_Q is not None:
            judged_Q &= self.chosen_Q
        pairs_QR = lists.pairs(self.ranked_QR, num_clips)
        annotated_QR = (self.ranked_QR == annotated_Q[:, None]) & (self.ranked_QR != lists.ABSENT)
        found = Answers(
            hits_QR=np.isin(pairs_QR, right_pairs)[judged_Q],
            annotated_QR=annotated_QR[judged_Q],
            relevant_Q=relevant_Q[judged_Q],
            grades_QR=self._grades_QR(pairs_QR)[judged_Q],
        )
        return found, judged_Q

    def _grades_QR(self, pairs_QR: np.ndarray) -> np.ndarray:
        """The annotated grade of each answer; 0 where none is annotated."""
        query_M, clip_M, grade_M = self.truth.targets
        pair_M = query_M * len(self.truth.vocabulary) + clip_M
        order = np.argsort(pair_M)
        found_QR = np.minimum(np.searchsorted(pair_M[order], pairs_QR), len(pair_M) - 1)
        return np.where(pair_M[order][found_QR] == pairs_QR, grade_M[order][found_QR], 0.0)

    def named(self, depth: int) -> list[list[str]]:
        """The clip ids of each list's first answers."""
        names = self.truth.vocabulary.to_pylist()
        cut_QR = self.ranked_QR[:, :depth].tolist()
        return [[names[clip] for clip in clips if clip != lists.ABSENT] for clips in cut_QR]

    def _own_QR(self) -> np.ndarray:
        return self.ranked_QR == self.truth.own_Q[:, None]

    def _name(self, clip: int) -> str:
        return self.truth.vocabulary[int(clip)].as_py()
