"""Rows compared: names, intervals, breakdowns, composition gap, the printed table."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from covr.evaluate.metrics import MAP_AT, RECALL_AT
from covr.evaluate.rank import rank_embeddings, rank_randomly
from covr.evaluate.results import Comparison, Scores, score
from covr.evaluate.show import covered, table


def judged(queries, noise: float) -> Scores:
    """A row whose query vectors are the target label's, with noise; clip ids are `c<label>-<number>`."""
    rng = np.random.default_rng(0)
    labels_LD = rng.normal(size=(8, 16))

    def vectors(clip_ids: list[str], spread: float) -> np.ndarray:
        found = labels_LD[[int(clip_id[1]) for clip_id in clip_ids]] + spread * rng.normal(size=(len(clip_ids), 16))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    runs = {}
    for protocol in ("corrected", "published"):
        ((group, clips),) = queries.groups(protocol)
        wanted = [targets[0] for targets in group.triplets["target_clips"].to_pylist()]
        runs[protocol] = rank_embeddings(
            vectors(wanted, noise),
            vectors(clips, 0.1),
            query_ids=group.triplets["query_id"].to_pylist(),
            query_clips=group.triplets["query_clip"].to_pylist(),
            gallery_clips=clips,
            depth=100,
            own="last" if protocol == "published" else "left out",
        )
    return score(runs, queries, "row")


@pytest.fixture(scope="module")
def rows(queries):
    scores = {"composed": judged(queries, 0.3), "text-only": judged(queries, 3.0), "average": judged(queries, 1.0)}
    return Comparison(queries, 200, seed=0).rows(scores)


def test_both_protocols_stand_side_by_side(rows):
    metrics = rows[0]["metrics"]
    for k in MAP_AT:
        assert metrics[f"mAP@{k}"] <= 100
        assert f"mAP@{k}/published" in metrics
    for k in RECALL_AT:
        assert {f"R@{k}", f"R@{k}/annotated", f"R@{k}/published"} <= metrics.keys()
    low, high = rows[0]["interval"]["mAP@10"]
    assert 0 <= low <= metrics["mAP@10"] <= high <= 100


def test_composition_gap_is_over_the_best_rival(rows):
    composed, *rivals = (row["metrics"]["mAP@10"] for row in rows)
    assert rows[0]["metrics"]["composition_gap"] == pytest.approx(composed - max(rivals), abs=1e-5)
    assert all("composition_gap" not in row["metrics"] for row in rows[1:])


def test_breakdowns_cover_every_query(rows, queries):
    for tag in ("edit", "seen"):
        groups = rows[0]["breakdown"][tag]
        assert sum(group["queries"] for group in groups.values()) == len(queries)
        mean = sum(group["queries"] * group["mAP@10"] for group in groups.values()) / len(queries)
        assert mean == pytest.approx(rows[0]["metrics"]["mAP@10"], abs=1e-4)


def test_chance_is_what_counting_says(queries):
    """A random order of 23 clips with 3 right ones: R@1 is 3 of 23 within sampling noise."""
    ((group, clips),) = queries.groups("corrected")
    asked = {"query_ids": [], "query_clips": [], "gallery_clips": clips, "depth": 100}
    asked["query_ids"] = group.triplets["query_id"].to_pylist()
    asked["query_clips"] = group.triplets["query_clip"].to_pylist()
    means = [
        score({"corrected": rank_randomly(**asked, seed=seed)}, queries, "chance").values["R@1"].mean()
        for seed in range(40)
    ]
    assert np.mean(means) == pytest.approx(3 / 23, abs=0.02)


def test_the_table_fits_a_terminal_of_80_characters(rows):
    console = Console(width=80, record=True, file=io.StringIO())
    results = {"data": "tiny", "split": "test", "protocol": "both", "gallery": "tiny-test", "rows": rows}
    console.print(table(results))
    text = console.export_text()
    assert "…" not in text
    for wanted in ("composed", "mAP@10/published", "median rank", "composition gap", "never seen in training"):
        assert wanted in text


def test_what_the_data_set_lacks_is_told_with_the_numbers():
    counts = {"clips": 7, "present": 6, "queries": 4, "kept": 3}
    whole = {"clips": 7, "present": 7, "queries": 4, "kept": 4}
    data = {"splits": {"test": counts, "val": whole}, "notes": ["2 clips of train are in test too"]}
    results = {"split": "test", "coverage": {"queries": 2, "queries_given": 3, "clips_refused": 1}}
    assert covered({**results, "data_coverage": data}) == [
        "2 of 3 queries are asked: 1 clip was refused",
        "of the data set, test has 6 of 7 clips, 3 of 4 queries",
        "2 clips of train are in test too",
    ]
    assert covered({"split": "val", "coverage": None, "data_coverage": {**data, "notes": []}}) == []
    assert covered({"split": "val", "coverage": None, "data_coverage": None}) == []


def test_a_gallery_that_chance_orders_nearly_right_is_told():
    """A folder of eight clips gave 100.0 in every row, chance among them, and no word about it."""
    rows = [{"row": "chance", "metrics": {"mAP@10": 72.0}}, {"row": "composed", "metrics": {"mAP@10": 100.0}}]
    (line,) = covered({"split": "test", "rows": rows})
    assert line == "too few clips in the test split to tell anything: chance reaches 72.0"
    rows[0]["metrics"]["mAP@10"] = 5.0
    assert covered({"split": "test", "rows": rows}) == []
