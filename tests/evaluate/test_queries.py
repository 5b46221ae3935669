"""Which queries are asked of which gallery."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest
import tiny_world

from covr import tables
from covr.errors import UserError
from covr.evaluate.queries import Coverage, Queries


def test_the_corrected_gallery_is_named_and_the_published_one_has_a_row_for_each_annotation(queries):
    assert queries.gallery == tiny_world.GALLERY
    ((group, clips),) = queries.groups("corrected")
    assert len(group) == len(queries)
    assert sorted(clips) == sorted(set(clips))
    ((_, annotated),) = queries.groups("published")
    assert Counter(annotated) == Counter(targets[0] for targets in queries.triplets["target_clips"].to_pylist())
    assert max(Counter(annotated).values()) > 1


def test_queries_of_different_galleries_are_asked_apart():
    rows = [
        {"query_id": f"q{i}", "query_clip": "a", "target_clips": ["b"], "galleries": {"corrected": f"g{i % 2}"}}
        for i in range(4)
    ]
    gallery = [{"gallery_id": f"g{i}", "clip_id": clip} for i, clip in ((0, "b"), (1, "b"), (1, "c"))]
    queries = Queries(
        split="test",
        triplets=tables.from_rows("triplets", rows),
        galleries=tables.from_rows("galleries", gallery),
        origin="x",
    )
    found = [(group.triplets["query_id"].to_pylist(), clips) for group, clips in queries.groups("corrected")]
    assert found == [(["q0", "q2"], ["b"]), (["q1", "q3"], ["b", "c"])]
    assert queries.gallery == "2 galleries"


def test_every_wording_is_a_query_of_its_own(queries):
    every = queries.every_wording()
    assert len(every) == 2 * len(queries)
    assert every.texts()[:2] == queries.triplets["modifications"][0].as_py()
    assert every.triplets["query_id"].to_pylist()[:2] == ["q000#0", "q000#1"]
    assert every.tag("pair")[0] == queries.tag("pair")[0]


def test_refused_clips_are_neither_asked_nor_right_nor_in_a_gallery(queries):
    query, targets = queries.triplets["query_clip"][0].as_py(), queries.triplets["target_clips"][0].as_py()
    lost = targets[0]
    assert queries.without(set()) is queries
    assert queries.without({"of another data set"}) is queries
    left = queries.without({lost})
    assert lost not in left.galleries["clip_id"].to_pylist()
    rows = {row["query_id"]: row for row in left.triplets.to_pylist()}
    assert rows["q000"]["target_clips"] == targets[1:]
    assert not any(row["query_clip"] == lost for row in rows.values())
    asked = [row["query_id"] for row in queries.triplets.to_pylist() if row["query_clip"] != lost]
    assert list(rows) == asked
    assert left.coverage == Coverage(queries=len(asked), queries_given=len(queries), clips_refused=1)
    assert str(left.coverage) == f"{len(asked)} of {len(queries)} queries are asked: 1 clip was refused"
    assert left.origin != queries.origin
    assert "q000" not in queries.without({*targets}).triplets["query_id"].to_pylist()
    with pytest.raises(UserError, match="every query of this split needs a clip that was refused"):
        queries.without({query, *queries.triplets["query_clip"].to_pylist()})


def test_grades_follow_their_clips_and_weights_belong_to_the_annotated_one(queries):
    row = {
        "query_id": "q",
        "query_clip": "a",
        "target_clips": ["b", "c", "d"],
        "target_grades": [1.0, 0.5, 0.25],
        "target_weights": [0.5, 0.75],
        "galleries": {"corrected": "g"},
    }
    graded = replace(
        queries,
        triplets=tables.from_rows("triplets", [row]),
        galleries=tables.from_rows("galleries", [{"gallery_id": "g", "clip_id": c} for c in "bcd"]),
    )
    kept = graded.without({"c"}).triplets.to_pylist()[0]
    assert (kept["target_grades"], kept["target_weights"]) == ([1.0, 0.25], [0.5, 0.75])
    assert graded.without({"b"}).triplets.to_pylist()[0]["target_weights"] is None


def test_mistakes(world, queries):
    with pytest.raises(UserError, match=r"no queries in this split.*val.*choose one of test"):
        Queries.read(world, "val")
    with pytest.raises(UserError, match=r"jobs/ingest\.py"):
        Queries.read(world / "elsewhere", "test")
    nameless = replace(queries, triplets=_without_galleries(queries.triplets))
    with pytest.raises(UserError, match="names no gallery"):
        list(nameless.groups("corrected"))
    with pytest.raises(UserError, match=r"test\.protocol=corrected"):
        list(nameless.groups("published"))


def _without_galleries(triplets: pa.Table) -> pa.Table:
    return tables.from_rows("triplets", [{**row, "galleries": None} for row in triplets.to_pylist()])
