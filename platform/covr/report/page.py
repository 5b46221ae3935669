"""report.html: the results as one file that opens anywhere, offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader, StrictUndefined

from covr.evaluate.metrics import PRIMARY
from covr.evaluate.queries import Queries
from covr.evaluate.show import CHANCE, SEEN, bounds, covered, number
from covr.report import plots
from covr.report.confusion import mask, shares
from covr.report.preview import previews
from covr.report.rows import side_by_side
from covr.report.sheet import sheet
from covr.storage import Place, TableStore
from covr.tracking import Journal

COLUMNS = {
    "corrected": ("mAP@5", "mAP@10", "mAP@25", "mAP@50", "R@1", "R@5", "R@10", "R@50", "median_rank"),
    "published": ("mAP@5/published", "mAP@10/published", "mAP@25/published", "mAP@50/published"),
}
CURVES = ("loss", "top-1", PRIMARY)
"""Metrics whose history is drawn, where a run has more than one value of them."""
WORST_CONFUSIONS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One metric's history in one run."""

    run: str
    metric: str
    points: list[tuple[int, float]]


def page(root: Place, results: Mapping[str, Any], queries: Queries, runs: pa.Table) -> bytes:
    """Render the report.

    Args:
        root: storage root, with scores.parquet of the rows; stage-1 results, tracking journals and clips are read from
            it, where they are there.
        results: as in results.json.
        queries: what was asked.
        runs: the main row's answers, under the corrected protocol.
    """
    shown = sheet(queries, runs)
    clip_ids = {clip_id for each in shown for clip_id in (each.clip_id, *(answer.clip_id for answer in each.answers))}
    clips = TableStore(root / "tables" / "clips", "clips").require(made_by="ingest")
    clips = clips.filter(pc.is_in(clips["clip_id"], pa.array(sorted(clip_ids))))
    templates = Environment(
        loader=PackageLoader("covr.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"bounds": bounds}
    main = next((row for row in results["rows"] if row["row"] == "composed"), results["rows"][0])
    others = [row["row"] for row in results["rows"] if row["row"] not in (main["row"], CHANCE)]
    html = templates.get_template("page.html.j2").render(
        results=results,
        rows=results["rows"],
        main=main,
        primary=PRIMARY,
        columns=_held(results),
        full=_scale(results),
        number=number,
        seen=SEEN,
        bar=plots.bar,
        curve=plots.curve,
        stage1=stage1(root),
        curves=curves(root),
        sheet=shown,
        clips={clip["clip_id"]: clip for clip in clips.to_pylist()},
        media=previews(root, clips),
        origin=queries.origin,
        coverage=covered(results),
        **side_by_side(root, results, [(main["row"], other) for other in others]),
    )
    return html.encode()


def stage1(root: Place) -> dict[str, Any] | None:
    """Accuracies of stage 1 and its confusion matrix as a picture, or None where stage 1 was not run here."""
    record, matrix = root / "steps" / "pretrain.json", root / "pretrain" / "confusion.json"
    if not (record.exists() and matrix.exists()):
        return None
    result, confusion = record.read_json().get("result"), matrix.read_json()
    if result is None:
        return None
    labels, counts_CC = confusion["labels"], np.array(confusion["counts"], dtype=float)
    share_CC = shares(counts_CC)
    wrong_CC = share_CC * (1 - np.eye(len(labels)))
    worst = [divmod(int(cell), len(labels)) for cell in np.argsort(-wrong_CC, axis=None, kind="stable")]
    return {
        "accuracy": {"top-1": result["top1"], "top-5": result["top5"], **result["attributes"]},
        "num_labels": len(labels),
        "picture": base64.b64encode(mask(share_CC)).decode(),
        "worst": [(labels[i], labels[j], wrong_CC[i, j]) for i, j in worst[:WORST_CONFUSIONS] if wrong_CC[i, j] > 0],
    }


def curves(root: Place) -> list[Curve]:
    """The histories of the latest run of each name, in the order in which the runs began."""
    latest: dict[str, Journal] = {}
    for journal in sorted(Journal.all(root), key=lambda each: each.started_ms):
        latest[journal.name] = journal
    found = []
    for name, journal in latest.items():
        histories = journal.curves()
        found += [
            Curve(run=name, metric=metric, points=histories[metric])
            for metric in CURVES
            if len(histories.get(metric, ())) > 1
        ]
    return found


def _held(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """The table's columns by protocol, without those that no row has."""
    has = {name for row in results["rows"] for name in row["metrics"]}
    held = {protocol: [name for name in names if name in has] for protocol, names in COLUMNS.items()}
    return {protocol: names for protocol, names in held.items() if names}


def _scale(results: Mapping[str, Any]) -> float:
    """Where the scale of all bars ends: a round number above every interval."""
    highs = [row["interval"][PRIMARY][1] for row in results["rows"]]
    for row in results["rows"]:
        highs += [group["interval"][1] for groups in row.get("breakdown", {}).values() for group in groups.values()]
        if "wordings" in row:
            highs.append(row["wordings"]["interval"][PRIMARY][1])
    return min(100.0, 10.0 * np.ceil(max(highs) / 10.0) or 10.0)
