"""Runs side by side, each against the first: numbers, paired significance, and the parameters in which they differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich import box
from rich.markup import escape
from rich.table import Table

from covr.errors import UserError
from covr.evaluate.scores import METRICS
from covr.evaluate.significance import Difference, holm, paired
from covr.report import plots
from covr.tracking.evaluated import Evaluated

CAPTION = (
    "Against the first run, query by query: 95 % intervals by paired bootstrap and p by two-sided randomisation test, "
    "both over whole label pairs; p adjusted for the number of runs (Holm). Models and clips are held fixed: the "
    "spread between training seeds is not in it."
)
OTHER_QUERIES = "other queries: not compared"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One run of the comparison."""

    name: str
    queries: int
    metrics: dict[str, float]
    """Percent."""
    difference: Difference | None
    """From the first run, as shares, p adjusted; None of the first, and of runs that answered other queries."""
    compared: bool
    params: dict[str, str]
    """Those in which the runs differ."""


def compare(runs: Sequence[Evaluated], metric: str, seed: int = 0) -> list[Line]:
    """Compare all runs with the first by `metric`.

    Raises:
        UserError: a run lacks the metric, or there are fewer than two.
    """
    if len(runs) < 2:
        raise UserError("one run cannot be compared", runs[0].name if runs else "", "give two or more")
    for run in runs:
        if metric not in run.scores.values:
            raise UserError(f"there is no metric {metric!r}", run.name, f"choose one of {', '.join(run.scores.values)}")
    first, *others = (run.scores for run in runs)
    alike = [first.queries == each.queries and first.query_ids == each.query_ids for each in others]
    tests = [
        paired(each.values[metric], first.values[metric], first.clusters, seed=seed)
        for each, same in zip(others, alike, strict=True)
        if same
    ]
    adjusted = iter(
        Difference(mean=test.mean, interval=test.interval, p=p)
        for test, p in zip(tests, holm([test.p for test in tests]), strict=True)
    )
    differences = [None, *(next(adjusted) if same else None for same in alike)]
    differs = differing([run.params for run in runs])
    return [
        Line(
            name=run.name,
            queries=len(run.scores.query_ids),
            metrics={
                name: 100 * float(np.mean(run.scores.values[name])) for name in METRICS if name in run.scores.values
            },
            difference=difference,
            compared=difference is not None or run is runs[0],
            params={key: run.params.get(key, "–") for key in differs},
        )
        for run, difference in zip(runs, differences, strict=True)
    ]


def differing(params: Sequence[dict[str, str]]) -> list[str]:
    """The names of parameters whose values differ between runs that have them, sorted."""
    names = {key for each in params for key in each}
    return sorted(key for key in names if len({each[key] for each in params if key in each}) > 1)


def table(lines: Sequence[Line], metric: str) -> Table:
    """For the terminal: a line for each run."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=CAPTION, caption_justify="left")
    shown.add_column("run", overflow="fold")
    for name in lines[0].metrics:
        shown.add_column(name, justify="right", no_wrap=True)
    for name in (f"Δ {metric}", "95 %", "p"):
        shown.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        values = (f"{line.metrics[name]:.1f}" if name in line.metrics else "–" for name in lines[0].metrics)
        shown.add_row(escape(line.name), *values, *told(line))
    return shown


def told(line: Line) -> tuple[str, str, str]:
    """Difference, interval and p as they are printed."""
    if line.difference is None:
        return ("", "", "") if line.compared else (OTHER_QUERIES, "", "")
    low, high = line.difference.interval
    p = line.difference.p
    return (
        f"{100 * line.difference.mean:+.1f}",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
        f"{p:.3f}" if p >= 0.001 else "< 0.001",
    )


def as_csv(lines: Sequence[Line]) -> str:
    """The same for a spreadsheet: a line for each run, in full precision."""
    text = io.StringIO()
    params = [f"param:{key}" for key in lines[0].params]
    columns = ["run", "queries", *METRICS, "difference", "low", "high", "p", *params]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        found: dict[str, Any] = {"run": line.name, "queries": line.queries, **line.metrics}
        if line.difference is not None:
            low, high = line.difference.interval
            found |= {"difference": 100 * line.difference.mean, "low": 100 * low, "high": 100 * high}
            found["p"] = line.difference.p
        writer.writerow(found | {f"param:{key}": value for key, value in line.params.items()})
    return text.getvalue()


def as_html(lines: Sequence[Line], metric: str) -> str:
    """The same as one page that opens anywhere, offline."""
    templates = Environment(
        loader=PackageLoader("covr.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    highest = max(line.metrics[metric] for line in lines)
    return templates.get_template("compare.html.j2").render(
        lines=lines,
        metric=metric,
        told=told,
        bar=plots.bar,
        caption=CAPTION,
        full=max(10.0, 10 * np.ceil(highest / 10)),
    )
