"""results.md: the table as a page of text, beside the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covr.evaluate.metrics import PRIMARY
from covr.evaluate.show import KINDS, p_value, two_at_once
from covr.table.published import NUMBERS, SOURCE

METRICS = ("mAP@5", PRIMARY, "mAP@25", "mAP@50", "R@1", "R@10")


def markdown(results: Mapping[str, Any], command: str, machine: str) -> str:
    """The page.

    Args:
        results: as in results.json.
        command: what made it.
        machine: what it ran on, in words.
    """
    rows = [row for row in results["rows"] if "metrics" in row]
    absent = [row for row in results["rows"] if "metrics" not in row]
    seeds = ", ".join(str(seed) for seed in results["seeds"])
    parts = [
        f"# Results on `{results['data']}`",
        f"`{command}`, seeds {seeds}, on {machine}; {results['split']} split, {rows[0]['queries']} queries, gallery "
        f"{results['gallery']}. Percent, corrected protocol, the mean over seeds; 95 % intervals over label pairs.",
        _table(
            ["row", *METRICS, f"{PRIMARY} 95 %", "seeds", "device-seconds", f"published {PRIMARY} of its kind"],
            [_row(row, results["seeds"]) for row in rows],
        ),
        f"Published: {SOURCE}; other data and encoders, so their order can be compared and their size cannot. Device-"
        "seconds: CPU threads (or GPUs) times seconds of stage 1, features and stage 2; rows that share a stage 1 "
        "each count it.",
    ]
    if results["effects"]:
        parts += [
            "## One thing changed at a time",
            _table(
                ["what", "rows", f"Δ {PRIMARY}", "95 %", "p (Holm)", "by seed"],
                [_effect(effect, results["seeds"]) for effect in results["effects"]],
            ),
        ]
    if any(row["breakdown"].get("edit") for row in rows):
        header = ["row", *KINDS, "two at once"]
        parts += [f"## {PRIMARY} by what the text changes", _table(header, [_kinds(row) for row in rows])]
    if absent:
        parts += ["## Not run", _table(["row", ""], [[row["row"], row["says"]] for row in absent])]
    return "\n\n".join(parts) + "\n"


def _row(row: Mapping[str, Any], seeds: Sequence[int]) -> list[str]:
    low, high = row["interval"][PRIMARY]
    title, numbers = NUMBERS.get(row["row"], ("", None))
    return [
        row["row"],
        *(f"{row['metrics'][name]:.1f}" for name in METRICS),
        f"{low:.1f}, {high:.1f}",
        " ".join(f"{row['seeds'][str(seed)]:.1f}" for seed in seeds),
        "" if row["cost"] is None else f"{row['cost']['device_seconds']:.0f}",
        "" if numbers is None else f"{numbers[1]:.2f} ({title})",
    ]


def _effect(effect: Mapping[str, Any], seeds: Sequence[int]) -> list[str]:
    low, high = effect["interval"]
    return [
        effect["what"],
        f"{effect['row']} − {effect['over']}",
        f"{effect['difference']:+.1f}",
        f"{low:+.1f}, {high:+.1f}",
        p_value(effect["p"]),
        " ".join(f"{effect['seeds'][str(seed)]:+.1f}" for seed in seeds),
    ]


def _kinds(row: Mapping[str, Any]) -> list[str]:
    edits = row["breakdown"].get("edit", {})
    values = [edits[kind][PRIMARY] if kind in edits else None for kind in KINDS]
    return [row["row"], *("" if value is None else f"{value:.1f}" for value in (*values, two_at_once(row)))]


def _table(header: Sequence[str], lines: Any) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
