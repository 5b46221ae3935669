"""The result table as people look at it: for the terminal, and as one page that opens anywhere, offline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.table import Table

from covr.evaluate.metrics import PRIMARY
from covr.evaluate.show import bounds, number, p_value
from covr.report import plots
from covr.report.rows import side_by_side
from covr.storage import Place
from covr.table.markdown import METRICS

SHOWN = (PRIMARY, "R@1", "R@10")
"""Columns for the terminal: 80 characters hold them."""


def shown(results: Mapping[str, Any]) -> Table:
    """`results.json` of a table for the terminal, a line for each row."""
    rows = [row for row in results["rows"] if "metrics" in row]
    title = f"{results['data']} · {results['split']} split · {rows[0]['queries']} queries · seeds {results['seeds']}"
    absent = "\n".join(f"{row['row']}: {row['says']}" for row in results["rows"] if "says" in row)
    found = Table(
        title=title,
        title_justify="left",
        caption=absent or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    found.add_column("%", no_wrap=True)
    for name in (*SHOWN, "95 %", "device-s"):
        found.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cost = "" if row["cost"] is None else f"{row['cost']['device_seconds']:.0f}"
        values = (number(row, name) for name in SHOWN)
        found.add_row(row["row"], *values, bounds(row["interval"][PRIMARY]), cost)
    return found


def page(root: Place, results: Mapping[str, Any]) -> bytes:
    """table.html: bars, edit kinds, one change at a time, any row against any, cost, and who wins which queries.

    Args:
        root: storage root, with scores.parquet of the rows.
        results: as in results.json.
    """
    rows = [row for row in results["rows"] if "metrics" in row]
    templates = Environment(
        loader=PackageLoader("covr.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"bounds": bounds, "p_value": p_value}
    highest = max(row["interval"][PRIMARY][1] for row in rows)
    html = templates.get_template("table.html.j2").render(
        results=results,
        rows=rows,
        absent=[row for row in results["rows"] if "says" in row],
        primary=PRIMARY,
        metrics=METRICS,
        number=number,
        bar=plots.bar,
        full=min(100.0, 10.0 * np.ceil(highest / 10.0) or 10.0),
        scatter=scatter([row for row in rows if row["cost"]]),
        **side_by_side(root, results, [(effect["row"], effect["over"]) for effect in results["effects"]]),
    )
    return html.encode()


def scatter(rows: list[Mapping[str, Any]]) -> Markup:
    """Cost against quality: device-seconds on a logarithmic axis; rows that no cheaper one reaches bear their names."""
    seconds = [max(1.0, row["cost"]["device_seconds"]) for row in rows]
    low, high = math.log10(min(seconds, default=1.0)) - 0.1, math.log10(max(seconds, default=10.0)) + 0.1

    def x(cost: float) -> float:
        return 6 + 88 * (math.log10(cost) - low) / (high - low)

    def y(value: float) -> float:
        return 235 - 2.2 * value

    parts = ['<svg class="plot" width="100%" height="262" role="img" aria-label="cost against quality">']
    for value in (0, 50, 100):
        parts.append(f'<line class="axis" x1="6%" x2="100%" y1="{y(value):.0f}" y2="{y(value):.0f}"/>')
        parts.append(f'<text x="4%" y="{y(value) + 4:.0f}" text-anchor="end">{value}</text>')
    for tick in sorted({min(seconds, default=1.0), max(seconds, default=10.0)}):
        parts.append(f'<text x="{x(tick):.2f}%" y="256" text-anchor="middle">{tick:.0f} s</text>')
    best = -1.0
    for cost, row in sorted(zip(seconds, rows, strict=True), key=lambda each: (each[0], -each[1]["metrics"][PRIMARY])):
        value = row["metrics"][PRIMARY]
        mark = "bar strong" if row["row"] == "ours" else "bar"
        title = f"{row['row']}: {PRIMARY} {value:.1f}, {cost:.0f} device-seconds"
        parts.append(
            f'<circle class="{mark}" cx="{x(cost):.2f}%" cy="{y(value):.1f}" r="6"><title>{title}</title></circle>'
        )
        if value > best:
            best = value
            place = f'x="{x(cost):.2f}%" y="{y(value) + 4:.1f}"'
            side = 'dx="-9" text-anchor="end"' if x(cost) > 70 else 'dx="9"'
            parts.append(f"<text {place} {side}>{row['row']}</text>")
    return Markup("".join([*parts, "</svg>"]))
