"""`covr query`: ask a running endpoint for the clips that are like a video but changed as a text says."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from covr.client import DEFAULT_URL, Client, Result, SearchAnswer
from covr.report.console import console


def query(
    text: Annotated[str, typer.Option("--text", "-t", help="What should be different in the target.")],
    video: Annotated[Path | None, typer.Option("--video", help="The query video: a file that is sent.")] = None,
    clip: Annotated[str | None, typer.Option("--clip", help="The query video: the id of an indexed clip.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many answers.")] = 10,
    url: Annotated[str, typer.Option("--url", envvar="COVR_URL", help="The endpoint.")] = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Find the clips that are like a query video but changed as a text says (one of --video and --clip)."""
    with Client(url) as client:
        answer = client.search(text=text, video=video, clip_id=clip, k=k)
    if as_json:
        print(answer.model_dump_json(indent=2))
    else:
        console.print(table(answer, base_url=url))


def table(answer: SearchAnswer, *, base_url: str, right: Collection[str] | None = None) -> Table:
    """The answers as a table; with a column that marks the `right` ones where those are known."""
    shown = Table(caption=f"{answer.took_ms:.0f} ms, request {answer.request_id}", caption_justify="left")
    for heading in ("rank", "score"):
        shown.add_column(heading, justify="right")
    for heading in ("clip", "label", "seconds", "media", *(["right"] if right is not None else [])):
        shown.add_column(heading, overflow="fold")
    for result in answer.results:
        mark = [] if right is None else ["yes" if result.clip_id in right else ""]
        media = base_url.rstrip("/") + result.media
        shown.add_row(
            str(result.rank),
            f"{result.score:.4f}",
            result.clip_id,
            result.label or "",
            _seconds(result),
            media,
            *mark,
        )
    return shown


def _seconds(result: Result) -> str:
    if result.start_s is None and result.end_s is None:
        return "whole"
    end = "end" if result.end_s is None else f"{result.end_s:g}"
    return f"{result.start_s or 0:g} to {end}"
