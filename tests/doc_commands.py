"""The commands that README.md and docs/ tell people to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

REPO = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (REPO / "docs").glob("*.md")))
PROGRAMS = ("make", "covr", "python", "ray", "curl", "git", "mlflow", "serve", "pytest", ".ci/run")
_VARIABLE = re.compile(r"[A-Z_]+=\S*")


def blocks(document: str) -> list[str]:
    """Commands of a document's indented blocks, in order: continued lines joined, comments cut, `a && b` as two."""
    text = re.sub(r"\\\n\s*", " ", (REPO / document).read_text())
    lines = [line[4:] for line in text.splitlines() if re.match(r"    \S", line)]
    parts = [part.strip() for line in lines for part in re.sub(r"\s{2,}# .*| # .*", "", line).split(" && ")]
    return [part for part in parts if _program(part) in PROGRAMS]


def inline(document: str) -> list[str]:
    """Commands between backticks in the text and the tables of a document."""
    spans = re.findall(r"`([^`\n]+)`", (REPO / document).read_text())
    return [span for span in spans if _program(span) in ("make", "covr", "python") and " " in span]


def words(command: str) -> list[str]:
    """The command's words, without variables before it and without the folder of the virtual environment."""
    found = shlex.split(command)
    while _VARIABLE.fullmatch(found[0]):
        found = found[1:]
    return [found[0].removeprefix(".venv/bin/"), *found[1:]]


def _program(line: str) -> str:
    try:
        return words(line)[0]
    except (ValueError, IndexError):  # text that is no command
        return ""
