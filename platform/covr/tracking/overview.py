"""The runs of an experiment, lined up for comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from covr.errors import UserError
from covr.tracking.server import Server, own_name


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """One run."""

    run_id: str
    name: str
    parent: str | None
    status: str
    started_ms: int
    seconds: float | None
    """None while it runs."""
    metrics: dict[str, float]
    """Last values."""
    params: dict[str, str]
    tags: dict[str, str]
    differs: dict[str, str] = field(default_factory=dict)
    """The parameters in which it differs from other runs of its name."""


def overview(server: Server) -> list[RunSummary]:
    """All runs of the server's experiment: newest pipelines first, each followed by its steps in their order.

    Raises:
        UserError: the server does not answer.
    """
    with answering(server):
        found = list(all_runs(server))
    summaries = [_summary(run) for run in found]
    by_name: dict[str, list[RunSummary]] = defaultdict(list)
    for summary in summaries:
        by_name[summary.name].append(summary)
    for same in by_name.values():
        keys = {key for summary in same for key in summary.params}
        for key in sorted(key for key in keys if len({summary.params.get(key) for summary in same}) > 1):
            for summary in same:
                summary.differs[key] = summary.params.get(key, "–")
    return list(_in_order(summaries))


@contextmanager
def answering(server: Server) -> Iterator[None]:
    """Ask the server.

    Raises:
        UserError: it does not answer.
    """
    try:
        yield
    except MlflowException as error:
        reason = str(error).splitlines()[0][:160]
        raise UserError(
            f"the tracking server gives no runs ({reason})", server.uri, "start it, or check the URI"
        ) from None


def all_runs(server: Server) -> Iterator[Run]:
    """Every run of the server's experiment, newest first."""
    experiment = server.client.get_experiment_by_name(server.experiment)
    token = None
    while experiment is not None:
        page = server.client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _summary(run: Run) -> RunSummary:
    info = run.info
    return RunSummary(
        run_id=info.run_id,
        name=info.run_name,
        parent=run.data.tags.get(MLFLOW_PARENT_RUN_ID),
        status=info.status,
        started_ms=info.start_time,
        seconds=(info.end_time - info.start_time) / 1000 if info.end_time else None,
        metrics={own_name(key): value for key, value in sorted(run.data.metrics.items())},
        params=dict(run.data.params),
        tags={key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
    )


def _in_order(summaries: Iterable[RunSummary]) -> Iterator[RunSummary]:
    children: dict[str | None, list[RunSummary]] = defaultdict(list)
    known = {summary.run_id for summary in summaries}
    for summary in sorted(summaries, key=lambda each: each.started_ms):
        children[summary.parent if summary.parent in known else None].append(summary)

    def below(parent: str) -> Iterator[RunSummary]:
        for child in children[parent]:
            yield child
            yield from below(child.run_id)

    for top in reversed(children[None]):
        yield top
        yield from below(top.run_id)


def as_json(summary: RunSummary) -> dict[str, Any]:
    """A run as `covr runs --json` prints it."""
    return {name: getattr(summary, name) for name in RunSummary.__slots__}
