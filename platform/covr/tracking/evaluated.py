"""An evaluation by any of its names: a storage root, or a run of a tracking server; each with the row that is meant."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from covr.errors import UserError
from covr.evaluate import scores
from covr.storage import Place
from covr.tracking.lineage import MADE_BY, concerns, journal_of, makers, prefixed
from covr.tracking.overview import all_runs, answering
from covr.tracking.server import KEY_TAG, Server

MAIN = "composed"
"""The row that is meant where none is named."""
STEP = "evaluate"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What one row of one evaluation scored, and the parameters of the steps that led to it."""

    name: str
    """As it was asked for."""
    scores: scores.RowScores
    params: dict[str, str]
    """`<step>.<parameter>`."""


def evaluated(name: str, server: Callable[[], Server]) -> Evaluated:
    """Find an evaluation.

    Args:
        name: `FOLDER[:ROW]` or `s3://...[:ROW]`, a storage root; else `RUN[:ROW]`, an MLflow run of the step evaluate
            or of a pipeline, by its id, the first letters of it, or its name.
        server: asked only for runs.

    Raises:
        UserError: there is no such folder or run, or it holds no scores.
    """
    place, row = _split(name)
    if "://" in place or Path(place).is_dir():
        return _from_root(name, Place(place), row)
    return _from_server(name, server(), place, row)


def _split(name: str) -> tuple[str, str]:
    place, colon, row = name.rpartition(":")
    return (place, row) if colon and "/" not in row else (name, MAIN)


def _from_root(name: str, root: Place, row: str) -> Evaluated:
    file = root / scores.FILE
    if not file.exists():
        raise UserError("there are no scores", str(file), "run jobs/evaluate.py with this out first")
    params: dict[str, str] = {}
    for step, run in makers(root).items():
        if concerns(step, row) and (journal := journal_of(root, run)) is not None:
            params |= prefixed(step, journal.params)
    return Evaluated(name=name, scores=scores.read(file.read_bytes(), row, str(file)), params=params)


def _from_server(name: str, server: Server, wanted: str, row: str) -> Evaluated:
    with answering(server):
        runs = list(all_runs(server))
        run = _evaluation(server, runs, wanted)
        params = prefixed(STEP, run.data.params)
        for tag, maker in run.data.tags.items():
            step = tag.removeprefix(MADE_BY)
            if tag.startswith(MADE_BY) and concerns(step, row):
                made_by = (each for each in runs if maker in (each.info.run_id, each.data.tags.get(KEY_TAG)))
                params |= {key: value for each in made_by for key, value in prefixed(step, each.data.params).items()}
        where = f"run {run.info.run_id}"
        if scores.FILE not in (file.path for file in server.client.list_artifacts(run.info.run_id)):
            raise UserError(f"there is no {scores.FILE}", where, "run jobs/evaluate.py again")
        with tempfile.TemporaryDirectory() as folder:
            data = Path(server.client.download_artifacts(run.info.run_id, scores.FILE, folder)).read_bytes()
    return Evaluated(name=name, scores=scores.read(data, row, where), params=params)


def _evaluation(server: Server, runs: list[Run], wanted: str) -> Run:
    """The one run that is meant; of a pipeline, its evaluation."""
    found = [run for run in runs if wanted in (run.info.run_id, run.info.run_name)]
    found = found or [run for run in runs if run.info.run_id.startswith(wanted)]
    if not found:
        raise UserError(
            f"no such folder, and no such run in experiment {server.experiment!r} of {server.uri}",
            wanted,
            "`covr runs` lists them; give a storage root, or a run's id or name",
        )
    if len(found) > 1:
        ids = ", ".join(run.info.run_id[:8] for run in found[:8])
        raise UserError(f"{len(found)} runs have this name", wanted, f"give one of their ids: {ids}")
    (run,) = found
    if run.info.run_name == STEP:
        return run
    children = (each for each in runs if each.data.tags.get(MLFLOW_PARENT_RUN_ID) == run.info.run_id)
    below = next((each for each in children if each.info.run_name == STEP), None)
    if below is None:
        raise UserError("this run evaluated nothing", wanted, f"give a run called {STEP}, or its pipeline")
    return below
