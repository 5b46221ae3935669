"""`covr doctor`: what a job needs and whether it is there, on one screen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from covr.cli.submit import TokenFile
from covr.report.console import console

if TYPE_CHECKING:
    from covr.doctor.finding import Finding

MARKS = {"ok": "[green]ok[/green]", "advice": "[yellow]advice[/yellow]", "fault": "[red bold]fault[/red bold]"}


def doctor(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="the options of the jobs to come: out=s3://... trainer.devices=4 ...")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A cluster's dashboard, http://HEAD:8265: look at its nodes instead.")
    ] = None,
    token_file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every finding, for a machine.")] = False,
) -> None:
    """Check versions, codecs, memory, disk, storage, GPU, Ray and MLflow; exit status 1 where something is broken.

    With --address: every node of a cluster, versions that differ between them, clocks, storage and MLflow as the nodes
    reach them, and whether the cluster asks for its token.
    """
    from covr.config.compose import compose
    from covr.doctor.examine import examine  # imports what it looks at

    cfg = compose(overrides or ())
    with nullcontext() if as_json else console.status("looking ..."):
        found = list(examine(cfg) if address is None else _cluster(address, token_file, overrides or []))
    broken = [each for each in found if each.state == "fault"]
    if as_json:
        print(json.dumps({"ok": not broken, "findings": [asdict(each) for each in found]}, indent=2))
    else:
        console.print(_table(found))
        console.print(
            f"{len(broken)} to mend before a job can run."
            if broken
            else "A job can run " + ("here." if address is None else "there.")
        )
    if broken:
        raise typer.Exit(1)


def _cluster(address: str, token_file: Path | None, overrides: Sequence[str]) -> Iterator[Finding]:
    from covr.cluster.jobs import JobServer
    from covr.doctor.cluster import examine_cluster

    return examine_cluster(JobServer(address, token_file), overrides)


def _table(found: Sequence[Finding]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("check", no_wrap=True)
    shown.add_column("", no_wrap=True)
    shown.add_column("found, and what to do", overflow="fold")
    for each in found:
        fix = f"\n[bold]to do:[/bold] {escape(each.fix)}" if each.fix else ""
        shown.add_row(escape(each.check), MARKS[each.state], escape(each.found) + fix)
    return shown
