"""What a person sees while a job runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 30.0

console = Console(highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """One line of progress, with Rich markup."""
    console.print(message)


@contextmanager
def progress(label: str, total: int, done: int = 0, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number of things just done: a bar on a terminal, a line now and then in a log."""
    if console.is_terminal:
        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(label, total=total, completed=done)
            yield lambda num: bar.advance(task, num)
        return
    begin = said = time.monotonic()
    before = done

    def advance(num: int) -> None:
        nonlocal done, said
        done += num
        now = time.monotonic()
        if now - said >= LINE_EVERY_S:
            rate = (done - before) / (now - begin)
            to_go = (total - done) / max(rate, 1e-9)
            say(f"{label} {done}/{total} {unit}  [dim]{rate:.1f}/s, {to_go:.0f} s to go[/dim]")
            said = now

    yield advance
