"""`covr runs`: the tracked runs in their order; `covr runs compare`: some of them query by query."""

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
    from covr.tracking.server import Server

MAIN_METRICS = ("mAP@10", "composition_gap", "R@10", "top-1", "loss")

runs = typer.Typer(add_completion=False)
"""The group `covr runs`; by itself it lists."""

Out = Annotated[str, typer.Option(help="Storage root of the runs.")]
Uri = Annotated[str | None, typer.Option(help="Tracking server, in place of the storage root's database.")]
Experiment = Annotated[str, typer.Option(help="MLflow experiment.")]


@runs.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    out: Out = "out/demo",
    uri: Uri = None,
    experiment: Experiment = "covr",
    as_json: Annotated[bool, typer.Option("--json", help="Everything about each run, for a machine.")] = False,
) -> None:
    """List runs: their main metrics, and the parameters in which runs of one name differ."""
    if context.invoked_subcommand is not None:
        for name in context.params:
            source = context.get_parameter_source(name)
            if source is None or source.name == "DEFAULT":
                continue
            raise UserError(
                "this option is the subcommand's", f"--{name}", f"write it behind {context.invoked_subcommand}"
            )
        return
    from covr.tracking.overview import as_json as to_json
    from covr.tracking.overview import overview

    found = overview(_server(out, uri, experiment))
    if as_json:
        print(json.dumps([to_json(run) for run in found], indent=2))
    elif not found:
        print(f"no runs in experiment {experiment!r} at {uri or Path(out)}")
    else:
        console = _console()
        console.print(_table(found))
        for run in found:
            if run.differs:
                changed = " ".join(f"{key}={value}" for key, value in run.differs.items())
                console.print(f"{_named(run)}: {changed}", soft_wrap=True, markup=False)


@runs.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="Storage roots, or MLflow runs by id or name; :ROW for another row."),
    ],
    out: Out = "out/demo",
    uri: Uri = None,
    experiment: Experiment = "covr",
    metric: Annotated[str, typer.Option(help="What is tested.")] = "mAP@10",
    csv: Annotated[Path | None, typer.Option(help="Write the comparison to this CSV file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the comparison to this page.")] = None,
) -> None:
    """Compare evaluations with the first of them: metrics, paired significance, differing parameters.

    covr runs compare out/demo out/demo:text-only 3f2a91c4 --html compare.html
    """
    from covr.report import compare as report
    from covr.tracking.evaluated import evaluated

    lines = report.compare([evaluated(name, lambda: _server(out, uri, experiment)) for name in names], metric)
    console = _console()
    console.print(report.table(lines, metric))
    for key in lines[0].params:
        console.print(f"{key}: {' | '.join(line.params[key] for line in lines)}", soft_wrap=True, markup=False)
    for path, text in ((csv, report.as_csv(lines)), (html, report.as_html(lines, metric))):
        if path is not None:
            Place(path).write_bytes(text.encode())
            console.print(f"written: {path}", markup=False)


def _server(out: str, uri: str | None, experiment: str) -> Server:
    if uri is None and not (Place(out) / "mlflow.db").exists():
        raise UserError("no runs are tracked here", out, "run a job with out=..., or give --out or --uri")
    from covr.tracking import Tracking

    return Tracking(Place(out), uri=uri, experiment=experiment).server()


def _console() -> Console:
    """Into a file or a pipe the table goes whole; a terminal's width is the terminal's."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


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
