"""The command `covr`. Each subcommand is a function of its own module, added here by one line."""

from __future__ import annotations

import sys

import typer

from covr.cli.checkpoints import export_checkpoint, import_checkpoint
from covr.cli.clips import clips
from covr.cli.datasets import export_mteb
from covr.cli.doctor import doctor
from covr.cli.features import export_features, export_texts
from covr.cli.jobs import jobs
from covr.cli.query import query
from covr.cli.reload import reload
from covr.cli.runs import runs
from covr.cli.score import score
from covr.cli.submit import submit
from covr.errors import UserError

commands = typer.Typer(
    name="covr",
    help="Composed video retrieval: a query video and a sentence that says what should be different.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@commands.callback()
def _group() -> None:
    """Without a callback Typer would turn a single command into the program itself."""


commands.command()(query)
commands.command()(reload)
commands.add_typer(clips, name="clips")
commands.add_typer(runs, name="runs")
commands.command()(score)
commands.command()(import_checkpoint)
commands.command()(export_checkpoint)
commands.command()(export_features)
commands.command()(export_texts)
commands.command()(export_mteb)
commands.command()(submit)
commands.add_typer(jobs, name="jobs")
commands.command()(doctor)


def app() -> None:
    """Entry point: a user's mistake is one line on stderr and exit status 2."""
    try:
        commands()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
