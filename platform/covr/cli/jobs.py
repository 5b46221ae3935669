"""`covr jobs`: the jobs of a Ray cluster: list, logs, stop."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from covr.cli.submit import DEFAULT, Address, TokenFile
from covr.report.console import console

jobs = typer.Typer(add_completion=False, no_args_is_help=True, help="Jobs of a Ray cluster: list, logs, stop.")
Id = Annotated[str, typer.Argument(metavar="ID", help="As `covr jobs list` shows it.")]


@jobs.command("list")
def listing(
    address: Address = DEFAULT,
    token_file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that Ray knows, for a machine.")] = False,
) -> None:
    """List the submitted jobs, the newest first."""
    from covr.cluster.jobs import JobServer

    found = JobServer(address, token_file).jobs()
    if as_json:
        print(json.dumps([json.loads(job.json()) for job in found], indent=2))
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("id", "status", "began", "took", "command"):
        shown.add_column(column, no_wrap=column != "command", overflow="fold")
    for job in found:
        shown.add_row(
            escape(job.submission_id or ""),
            job.status.value.lower(),
            _time(job.start_time),
            "" if not (job.start_time and job.end_time) else f"{(job.end_time - job.start_time) / 1000:.0f} s",
            escape(job.entrypoint),
        )
    console.print(shown)


@jobs.command()
def logs(job: Id, address: Address = DEFAULT, token_file: TokenFile = None) -> None:
    """Print what a job has written so far; `covr submit --attach ID` follows it."""
    from covr.cluster.jobs import JobServer

    print(JobServer(address, token_file).logs(job), end="")


@jobs.command()
def stop(job: Id, address: Address = DEFAULT, token_file: TokenFile = None) -> None:
    """Stop a job; the cluster and all other jobs go on, and the same job submitted again goes on from where it was."""
    from covr.cluster.jobs import JobServer

    print("stopping" if JobServer(address, token_file).stop(job) else "it had ended before")


def _time(milliseconds: int | None) -> str:
    return "" if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000).strftime("%m-%d %H:%M")
