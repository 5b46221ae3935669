"""WebVid-CoVR's two-step evaluation: from files of query and target vectors to recalls, with no model and no video.

Q queries, D dimensions. `query_feat.npy` (`query_feat_txt_only.npy` where the text alone asked) has a row for each row
of the annotations, `target_feat.npy` the vector of that row's target; `query_feat.json` says which clips they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from covr import tables
from covr.checkpoints.arrays import read_npy
from covr.datasets.annotations import read_object
from covr.errors import UserError
from covr.evaluate import lists
from covr.evaluate.metrics import RECALL_AT
from covr.evaluate.protocols import webvid
from covr.evaluate.ranking import Column, Ranking
from covr.evaluate.truth import Truth
from covr.storage import Place

ROWS = "query_feat.json"
DEPTH = 4 * max(RECALL_AT)  # ranks kept: the masked ones and repeated targets are dropped from them
BLOCK = 1 << 24  # scores held at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """The names under which one input's vectors and recalls are known."""

    features: str
    targets: str
    recalls: str

    @property
    def released(self) -> str:
        """What BSE-CoVR's released scoring script calls the recalls, where its README says `recalls`."""
        return self.recalls.replace("recalls", "recalls_covr")


OUTPUTS = {
    "composed": Output(features="query_feat.npy", targets="target_feat.npy", recalls="recalls.json"),
    "text-only": Output(
        features="query_feat_txt_only.npy", targets="target_feat_txt_only.npy", recalls="recalls_txt_only.json"
    ),
    "video-only": Output(
        features="query_feat_vis_only.npy", targets="target_feat_vis_only.npy", recalls="recalls_vis_only.json"
    ),
}
"""By the row of the comparison that asks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedRows:
    """What the rows of vectors are about."""

    annotation: str
    """Name of the annotation file."""
    query_clips: list[str]
    targets: list[str]

    @classmethod
    def of(cls, annotation: str, triplets: pa.Table) -> AnnotatedRows:
        """Of annotations in the order of their file.

        Raises:
            UserError: the answers are hidden.
        """
        answers = triplets["target_clips"].to_pylist()
        if not all(answers):
            raise UserError("the answers are hidden", annotation, "give the annotation file with the column pth2")
        return cls(
            annotation=annotation,
            query_clips=triplets["query_clip"].to_pylist(),
            targets=[clips[0] for clips in answers],
        )

    @classmethod
    def read(cls, place: Place) -> AnnotatedRows:
        """As `write` left it.

        Raises:
            UserError: no such file, or another one.
        """
        if not place.exists():
            fix = "give --annotations FILE, or let jobs/evaluate.py write it"
            raise UserError("which annotations are these vectors of?", str(place), fix)
        found = read_object(place)
        return cls(
            annotation=found.text("annotation"), query_clips=found.names("query_clips"), targets=found.names("targets")
        )

    def write(self, place: Place) -> None:
        """As one JSON object."""
        place.write_json(asdict(self))


def read_vectors(file: Path, num_rows: int | None = None) -> np.ndarray:
    """Vectors (N, D), float32, of unit length, from a `.npy` file or, where there is none, the `.pt` file of its name.

    BSE-CoVR's README promises the first, and its released scoring script reads the second.

    Raises:
        UserError: no such file, another kind or shape, another number of rows, or a row that is not finite or is zero.
    """
    if not file.is_file() and file.with_suffix(".pt").is_file():
        file = file.with_suffix(".pt")
    if not file.is_file():
        raise UserError("no such file of vectors", str(file), "jobs/evaluate.py test=webvid-covr writes it")
    values = read_npy(Place(file)) if file.suffix == ".npy" else _saved(Place(file))
    if values.ndim != 2 or values.dtype.kind != "f":
        raise UserError("not vectors (rows, dimensions)", str(file), "save one float vector a row")
    if num_rows is not None and len(values) != num_rows:
        raise UserError(f"{len(values)} rows for {num_rows} annotations", str(file), "give one vector a row")
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    if not (good := (np.isfinite(norms) & (norms > 0))[:, 0]).all():
        raise UserError("a vector that is zero or not finite", f"{file}, row {int(np.argmin(good))}", "make it again")
    return (values / norms).astype(np.float32)


def _saved(place: Place) -> np.ndarray:
    """A tensor that torch saved; anything else is an array that holds no number."""
    import torch  # takes seconds

    from covr.checkpoints.reader import read_saved

    value = read_saved(place)
    return value.detach().float().numpy() if isinstance(value, torch.Tensor) else np.empty(0, object)


def score_vectors(query_QD: np.ndarray, target_QD: np.ndarray, rows: AnnotatedRows) -> dict[str, Column]:
    """Recalls under every mask; row i of the targets answers row i of the queries.

    Args:
        query_QD, target_QD: of unit length; compared by cosine.
    """
    if query_QD.shape != target_QD.shape:
        problem = f"queries of shape {query_QD.shape}, targets of {target_QD.shape}"
        raise UserError(problem, rows.annotation, "give vectors of one retriever")
    galleries = {"published": "rows", "corrected": "unique"}
    triplets = tables.from_rows(
        "triplets",
        [
            {"query_id": str(i), "query_clip": clip, "target_clips": [target], "galleries": galleries}
            for i, (clip, target) in enumerate(zip(rows.query_clips, rows.targets, strict=True))
        ],
    )
    gallery = {"rows": rows.targets, "unique": sorted(set(rows.targets))}
    known = [{"gallery_id": name, "clip_id": clip} for name, clips in gallery.items() for clip in clips]
    truth = Truth.of(triplets, tables.from_rows("galleries", known), pa.chunked_array([rows.targets]))
    target_Q = truth.numbers(pa.array(rows.targets))
    size = max(1, BLOCK // len(target_Q))
    blocks = (query_QD[start : start + size] @ target_QD.T for start in range(0, len(query_QD), size))
    ranked_QR = np.concatenate([lists.from_scores(block, target_Q, DEPTH) for block in blocks])
    ranking = Ranking(truth=truth, ranked_QR=ranked_QR)
    return {mask: reading.read(ranking) for mask, reading in webvid.READINGS.items()}


def recalls_json(column: Column, annotation: str) -> Mapping[str, float | str]:
    """The recalls as CoVR's files have them: percent with two decimals."""
    named = {name.replace("R@", "R"): round(value, 2) for name, value in column.metrics.items()}
    return {**named, "annotation": annotation}
