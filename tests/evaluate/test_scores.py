"""scores.parquet holds what each query scored, and only that."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest

from covr.errors import UserError
from covr.evaluate.rank import rank_randomly
from covr.evaluate.results import Comparison, clusters, score
from covr.evaluate.scores import METRICS, read, write


@pytest.fixture(scope="module")
def scored(queries):
    ((group, clips),) = queries.groups("corrected")
    found = {}
    for seed, row in enumerate(("composed", "chance")):
        runs = rank_randomly(
            query_ids=group.triplets["query_id"].to_pylist(),
            query_clips=group.triplets["query_clip"].to_pylist(),
            gallery_clips=clips,
            depth=100,
            seed=seed,
        )
        found[row] = score({"corrected": runs}, queries, row)
    return found


def test_means_are_the_results(scored, queries):
    data = write(scored, queries)
    for result in Comparison(queries, 10, seed=0).rows(scored):
        row = read(data, result["row"], "here")
        assert row.query_ids == sorted(queries.triplets["query_id"].to_pylist())
        assert row.queries == queries.origin
        assert row.values.keys() == set(METRICS)
        for metric, value_Q in row.values.items():
            assert 100 * value_Q.mean() == pytest.approx(result["metrics"][metric], abs=1e-3)


def test_clusters_follow_the_queries(scored, queries):
    row = read(write(scored, queries), "chance", "here")
    known = dict(zip(queries.triplets["query_id"].to_pylist(), clusters(queries), strict=True))
    assert row.clusters == [known[query_id] for query_id in row.query_ids]


def test_the_same_scores_give_the_same_bytes(scored, queries):
    assert write(scored, queries) == write(scored, queries)


def test_mistakes(scored, queries):
    data = write(scored, queries)
    with pytest.raises(UserError, match=r"no row 'other'.*composed, chance"):
        read(data, "other", "here")
    with pytest.raises(UserError, match="not a table of scores"):
        read(b"something else", "composed", "here")
    table = pq.read_table(io.BytesIO(data)).replace_schema_metadata({})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    with pytest.raises(UserError, match="expected 'scores'"):
        read(buffer.getvalue(), "composed", "here")
