"""The results as a table for the terminal: a column for each row of the comparison, so that 80 characters hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from covr.datasets.benchmark import told
from covr.evaluate.metrics import MAP_AT, PRIMARY, RECALL_AT
from covr.evaluate.queries import Coverage

LINES = (*(f"mAP@{k}" for k in MAP_AT), *(f"R@{k}" for k in RECALL_AT), "median_rank", f"{PRIMARY}/published")
CHANCE, TOO_EASY = "chance", 50.0
"""A row, and the primary metric from which on its gallery is so small that any order of it is nearly right."""
KINDS = ("count", "side", "element", "event")
"""What the text of a query changes, where it changes one thing (tag `edit`)."""
SEEN = {"yes": "seen in training", "no": "never seen in training"}


def table(results: Mapping[str, Any]) -> Table:
    """`results.json` as a Rich table: percent, and the primary metric's 95 % interval."""
    rows = results["rows"]
    queries = f"{rows[0]['queries']} queries" if rows else "no rows"
    title = f"{results['data']} · {results['split']} split · {queries} · gallery {results['gallery']}"
    shown = Table(
        title=title,
        title_justify="left",
        caption=_caption(results),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    shown.add_column("%", no_wrap=True)
    for row in rows:
        shown.add_column(row["row"], justify="right", no_wrap=True)
    for name in LINES:
        if not any(name in row["metrics"] for row in rows):
            continue
        style = "bold" if name.startswith(PRIMARY) else ""
        shown.add_row(name.replace("median_rank", "median rank"), *(number(row, name) for row in rows), style=style)
        if name.startswith(PRIMARY):
            shown.add_row("  95 %", *(bounds(row["interval"].get(name)) for row in rows), style="dim")
    return shown


def readings(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """A protocol's readings side by side (see `Column.plain`), and what has to be known beside them."""
    notes = [f"{name}: {note}" for name, column in columns.items() for note in column["notes"]]
    shown = Table(
        title=title,
        title_justify="left",
        caption="\n".join(notes),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    shown.add_column("%", no_wrap=True)
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    for metric in dict.fromkeys(metric for column in columns.values() for metric in column["metrics"]):
        values = (column["metrics"].get(metric) for column in columns.values())
        shown.add_row(metric, *("–" if value is None else f"{value:.2f}" for value in values))
    shown.add_row("queries", *(str(column["queries"]) for column in columns.values()), style="dim")
    return shown


def number(row: Mapping[str, Any], name: str) -> str:
    """One metric of one row as it is printed."""
    value = row["metrics"].get(name)
    if value is None:
        return "–"
    return f"{value:g}" if name == "median_rank" else f"{value:.1f}"


def bounds(interval: list[float] | None) -> str:
    """An interval as it is printed."""
    return "–" if interval is None else f"{interval[0]:.1f}–{interval[1]:.1f}"


def p_value(p: float) -> str:
    """A p value as it is printed."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def two_at_once(row: Mapping[str, Any]) -> float | None:
    """The primary metric over all queries that change two things."""
    groups = [group for kind, group in row["breakdown"].get("edit", {}).items() if "+" in kind]
    queries = sum(group["queries"] for group in groups)
    return sum(group["queries"] * group[PRIMARY] for group in groups) / queries if queries else None


def covered(results: Mapping[str, Any]) -> list[str]:
    """What was left out of the numbers of `results.json`, and what else was noted of the data; empty: nothing."""
    data = results.get("data_coverage") or {}
    counts = data.get("splits", {}).get(results["split"])
    lines = [f"{Coverage(**results['coverage'])}"] if results.get("coverage") else []
    if counts and (counts["present"], counts["kept"]) < (counts["clips"], counts["queries"]):
        lines.append(f"of the data set, {told(results['split'], counts)}")
    for row in results.get("rows", []):
        if row["row"] == CHANCE and row["metrics"].get(PRIMARY, 0) >= TOO_EASY:
            lines.append(
                f"too few clips in the {results['split']} split to tell anything: chance reaches {number(row, PRIMARY)}"
            )
    return lines + data.get("notes", [])


def _caption(results: Mapping[str, Any]) -> str:
    lines = covered(results)
    for row in results["rows"]:
        if "composition_gap" in row["metrics"]:
            gap, interval = number(row, "composition_gap"), bounds(row["interval"]["composition_gap"])
            lines.append(f"composition gap ({row['row']} {PRIMARY} less the best single input): {gap}, {interval}")
            for name, group in row["breakdown"].get("seen", {}).items():
                value = f"{group[PRIMARY]:.1f}, {bounds(group['interval'])}"
                name = SEEN.get(name, name)
                lines.append(f"label pairs {name} ({group['queries']} queries): {row['row']} {PRIMARY} {value}")
    lines.append("95 % intervals over label pairs, models and clips fixed")
    return "\n".join(lines)
