"""`covr runs`: the tracked runs side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from covr.errors import UserError
from covr.storage import Place

if TYPE_CHECKING:
    from covr.tracking.overview import RunSummary

MAIN_METRICS = ("mAP@10", "composition_gap", "R@10", "top-1", "loss")


def runs(
    out: Annotated[str, typer.Option(help="Storage root of the runs.")] = "out/demo",
    uri: Annotated[str | None, typer.Option(help="Tracking server, in place of the storage root's database.")] = None,
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "covr",
    as_json: Annotated[bool, typer.Option("--json", help="Everything about each run, for a machine.")] = False,
) -> None:
    """Compare runs: their main metrics, and the parameters in which runs of one name differ."""
    if uri is None and not (Place(out) / "mlflow.db").exists():
        raise UserError("no runs are tracked here", out, "run a job with out=..., or give --out or --uri")
    from covr.tracking import Tracking
    from covr.tracking.overview import as_json as to_json
    from covr.tracking.overview import overview

    found = overview(Tracking(Place(out), uri=uri, experiment=experiment).server())
    if as_json:
        print(json.dumps([to_json(run) for run in found], indent=2))
    elif not found:
        print(f"no runs in experiment {experiment!r} at {uri or Path(out)}")
    else:
        # Into a file or a pipe the table goes whole; a terminal's width is the terminal's.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
        console.print(_table(found))
        for run in found:
            if run.differs:
                changed = " ".join(f"{key}={value}" for key, value in run.differs.items())
                console.print(f"{_named(run)}: {changed}", soft_wrap=True, markup=False)


def _table(found: Sequence[RunSummary]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    metrics = [name for name in MAIN_METRICS if any(name in run.metrics for run in found)]
    shown.add_column("run", no_wrap=True)
    for name in ("took", *metrics):
        shown.add_column(name.replace("composition_gap", "gap"), justify="right", no_wrap=True)
    known = {run.run_id: run for run in found}
    for run in found:
        shown.add_row(
            "  " * _depth(run, known) + _named(run),
            "–" if run.seconds is None else _duration(run.seconds),
            *(f"{run.metrics[name]:.4g}" if name in run.metrics else "" for name in metrics),
        )
    return shown


def _named(run: RunSummary) -> str:
    """A run's name, with the time where it stands for a pipeline, and how it ended where not well."""
    began = "" if run.parent else datetime.fromtimestamp(run.started_ms / 1000).strftime(" %m-%d %H:%M")
    return f"{run.name}{began}" + ("" if run.status == "FINISHED" else f" ({run.status.lower()})")


def _depth(run: RunSummary, known: dict[str, RunSummary]) -> int:
    parent = known.get(run.parent or "")
    return 0 if parent is None else 1 + _depth(parent, known)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
