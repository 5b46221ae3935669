"""A trained retriever's first answers to its validation queries, for what is said of its answers later."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from covr.embed.refused import refused
from covr.errors import UserError
from covr.evaluate.confidence import Confidence
from covr.evaluate.job import Row
from covr.evaluate.queries import Queries
from covr.job import Job
from covr.models.joint import JointRetriever
from covr.models.retriever import ComposedRetriever
from covr.report.console import say
from covr.storage import TableStore
from covr.tables import right_targets

SPLIT = "val"


def validated(job: Job, retriever: ComposedRetriever | JointRetriever) -> Confidence | None:
    """From which score on a first answer of the row `index.row` is right as often as `index.confidence` says.

    None where there are no validation queries with answers, as for clips without labels.

    Args:
        retriever: the row's.
    """
    triplets = TableStore(job.root / "tables/triplets", "triplets")
    if not triplets.exists() or SPLIT not in pc.unique(triplets.read(["split"])["split"]).to_pylist():
        return None
    row = Row(job, job.cfg.index.row)
    row.retriever = retriever
    lacking = frozenset[str]().union(*(refused(job.root, encoder) for encoder in row.features.encoders))
    queries = Queries.read(job.root, SPLIT).without(lacking).answerable()
    if not len(queries):
        return None
    try:
        runs = row.runs(queries, "corrected", 1, "left out")
    except UserError as error:  # the index does not need them: features of these clips may not be there
        say(f"  which answers are confident is not measured: {error}")
        return None
    right = dict(
        zip(queries.triplets["query_id"].to_pylist(), right_targets(queries.triplets).to_pylist(), strict=True)
    )
    answered = zip(runs["query_id"].to_pylist(), runs["clip_id"].to_pylist(), strict=True)
    right_Q = np.array([clip_id in right[query_id] for query_id, clip_id in answered], bool)
    return Confidence.of(runs["score"].to_numpy(), right_Q, job.cfg.index.confidence)
