"""What a person sees while a job runs."""

from __future__ import annotations

from rich.console import Console

console = Console(highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """One line of progress, with Rich markup."""
    console.print(message)
