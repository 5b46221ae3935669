"""Which code made a run."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@cache
def code_version() -> str:
    """The git commit of this package's sources (`-dirty` where they were changed), else the package's version."""
    try:
        # Tracked, not merely inside: a package installed below someone's checkout is not that checkout's code.
        _git("ls-files", "--error-unmatch", "__init__.py")
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):  # no git here, or no checkout
        return version("covr")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=True)
    return done.stdout.strip()
