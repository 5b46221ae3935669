"""The tables of docs/results.md are those of docs/results.json."""

from __future__ import annotations

import json

from doc_commands import REPO

from covr.table.markdown import markdown
from covr.table.rows import ABLATION, FROM_ONE_START


def test_the_page_shows_what_was_measured():
    results = json.loads((REPO / "docs/results.json").read_text())
    _, tables = markdown(results, results["command"], results["machine"]).split("\n\n", 1)
    assert tables.strip() in (REPO / "docs/results.md").read_text()
    measured = {row["row"]: row for row in results["rows"] if "metrics" in row}
    assert set(measured) == {*FROM_ONE_START, *ABLATION, "chance"}
    assert all(set(row["seeds"]) == {str(seed) for seed in results["seeds"]} for row in measured.values())
