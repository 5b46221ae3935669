"""The files that a benchmark's users know, by name and form: recalls, submissions, detailed answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from covr.evaluate.metrics import DEEPEST, MAP_AT, RECALL_AT
from covr.evaluate.protocols.cirr import SUBSET_AT
from covr.evaluate.tested import Tested
from covr.evaluate.vectors import OUTPUTS, recalls_json

RETRIEVED = 5  # answers a query in TF-CoVR's detailed file


def known_files(tested: Tested, reading: str | None, annotation: str) -> dict[str, Any]:
    """JSON values by file name; none for a benchmark that has no files of its own.

    Args:
        reading: the column whose numbers stand in them; None: the corrected one.
        annotation: what recalls.json calls the annotations.

    Raises:
        UserError: the protocol has no such reading.
    """
    return FILES[tested.name](tested, reading, annotation) if tested.name in FILES else {}


def _webvid(tested: Tested, reading: str | None, annotation: str) -> dict[str, Any]:
    return {OUTPUTS[tested.row].recalls: recalls_json(tested.column(reading), annotation)}


def _cirr(tested: Tested, reading: str | None, annotation: str) -> dict[str, Any]:
    del reading, annotation
    answers = _answers(tested, "corrected", DEEPEST, by="pairid")
    return {"recalls_cirr.json": {"version": "rc2", "metric": "recall", **answers}}


def _cirr_subset(tested: Tested, reading: str | None, annotation: str) -> dict[str, Any]:
    del reading, annotation
    answers = _answers(tested, "subset", max(SUBSET_AT), by="pairid")
    return {"recalls_cirr_subset.json": {"version": "rc2", "metric": "recall_subset", **answers}}


def _fashioniq(tested: Tested, reading: str | None, annotation: str) -> dict[str, Any]:
    """A file for each category, and the mean where all are there."""
    del annotation
    categories = sorted({tag for tag in tested.rankings["corrected"].truth.tag("category") if tag})
    values = {name: round(value, 2) for name, value in tested.column(reading).metrics.items()}
    if len(categories) < 2:
        return {f"recalls_fiq-{name}.json": {f"R{k}": values[f"R@{k}"] for k in RECALL_AT} for name in categories}
    files = {f"recalls_fiq-{name}.json": {f"R{k}": values[f"R@{k}/{name}"] for k in RECALL_AT} for name in categories}
    return {**files, "recalls_fiq-mean.json": {f"R{k}_mean": values[f"R@{k}"] for k in RECALL_AT}}


def _circo(tested: Tested, reading: str | None, annotation: str) -> dict[str, Any]:
    del reading, annotation
    answers = _answers(tested, "corrected", DEEPEST)
    numbers = {query: [int(clip) for clip in clips] for query, clips in answers.items()}
    return {f"recalls_circo-{tested.split}.json": numbers}


def _tf_covr(tested: Tested, reading: str | None, annotation: str) -> dict[str, Any]:
    """The released code writes its numbers under CIRCO's name, and each query's first answers beside them."""
    del annotation
    column = tested.column(reading)
    numbers = {f"mAP@{k}": round(column.metrics[f"mAP@{k}"], 2) for k in MAP_AT}
    numbers |= {f"Recall@{k}": round(column.metrics[f"R@{k}"], 2) for k in MAP_AT}
    ranking = tested.rankings["targets"].without_own()
    triplets = ranking.truth.triplets
    detailed = {
        str(row): {
            "query_filename": own,
            "gt_filenames": right,
            "retrieved": [{"filename": clip, "correct": clip in right} for clip in clips],
        }
        for row, (own, right, clips) in enumerate(
            zip(
                triplets["query_clip"].to_pylist(),
                triplets["target_clips"].to_pylist(),
                ranking.named(RETRIEVED),
                strict=True,
            )
        )
    }
    return {
        f"recalls_circo-{tested.split}.json": numbers,
        f"detailed_recalls_circo-{tested.split}.json": detailed,
    }


def _answers(tested: Tested, gallery: str, depth: int, by: str | None = None) -> Mapping[str, list[str]]:
    """Each query's first answers without its own clip, by published id (its last part, or a tag of the triplets)."""
    ranking = tested.rankings[gallery].without_own().once()
    truth = ranking.truth
    ids = [name.rsplit("-", 1)[-1] for name in truth.query_ids.to_pylist()] if by is None else truth.tag(by)
    return dict(zip([str(name) for name in ids], ranking.named(depth), strict=True))


FILES: Mapping[str, Callable[[Tested, str | None, str], dict[str, Any]]] = {
    "webvid-covr": _webvid,
    "dense-webvid-covr": _webvid,
    "cirr": _cirr,
    "cirr-subset": _cirr_subset,
    "fashioniq": _fashioniq,
    "circo": _circo,
    "tf-covr": _tf_covr,
}
