"""Every command in README.md and docs/ is one that this version takes: scripts, options, subcommands, targets.

They are read, not run.
"""

from __future__ import annotations

import re
from importlib.util import find_spec

import click
import pytest
import typer
from doc_commands import DOCUMENTS, REPO, blocks, inline, words

from covr.cli.main import commands
from covr.config.compose import compose

MAKEFILE = (REPO / "Makefile").read_text()
THEIRS = {  # commands of the published repositories, in docs/coming-from-covr.md
    "python train.py",
    "python test.py",
    "python evaluate_scores.py",
    "python tools/embs/",
}
COMMANDS = [
    (document, command)
    for document in DOCUMENTS
    for command in dict.fromkeys((*blocks(document), *inline(document)))
    if not any(command.startswith(beginning) for beginning in THEIRS)
]


def test_there_are_commands():
    assert len(COMMANDS) > 60


@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=lambda text: text[:60])
def test_the_command_is_taken(document, command):
    program, *arguments = words(command)
    match program:
        case "make":
            _check_make(arguments)
        case "covr":
            _check_covr(arguments)
        case "python":
            _check_python(arguments)
        case "ray":
            assert arguments[:2] == ["job", "submit"]
            _check_python(arguments[arguments.index("--") + 2 :])
        case "curl":
            assert re.search(r"http://(127\.0\.0\.1|HOST):8000/(v1/|readyz)", command)
        case "mlflow":
            assert arguments[0] in ("ui", "server")
        case "serve":
            assert arguments[0] == "deploy"
            assert (REPO / arguments[1]).exists()
        case "pytest":
            assert all((REPO / each.partition("::")[0]).exists() for each in arguments if each.startswith("tests/"))
        case ".ci/run":
            assert (REPO / ".ci/run").exists()
        case _:
            assert program == "git"


def _check_make(arguments: list[str]) -> None:
    for argument in arguments:
        name, assigned, _ = argument.partition("=")
        assert re.search(rf"^{name} \?=" if assigned else rf"^{name}:", MAKEFILE, re.MULTILINE), argument


def _check_python(arguments: list[str]) -> None:
    script, *options = arguments
    if script == "-c":
        compile(options[0], "<doc>", "exec")
    elif script == "-m":
        assert find_spec(options[0]) is not None
        if options[0] == "serve":
            compose(_composable(options[1:]))
    else:
        assert (REPO / script).exists()
        if script.startswith("jobs/"):
            compose(_composable(options))


def _composable(options: list[str]) -> list[str]:
    """Options without those that stand for others."""
    assert all("=" in each for each in options if each != "..."), options
    return [each.replace("data=NAME", "data=folder") for each in options if each != "..."]


def _check_covr(arguments: list[str]) -> None:
    command: click.Command = typer.main.get_command(commands)
    context = click.Context(command, info_name="covr")
    rest = [each.strip("[]") if re.match(r"\[-|.*[^\[]*\]$", each) else each for each in arguments if each != "..."]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command = command.commands[rest[0]]
        context = click.Context(command, info_name=rest.pop(0), parent=context)
    command.parse_args(context, rest)
