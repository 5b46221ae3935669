"""Which queries are asked of which gallery."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest
import tiny_world

from covr import tables
from covr.errors import UserError
from covr.evaluate.queries import Queries


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
