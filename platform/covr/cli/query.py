"""`covr query`: ask a running endpoint for the clips that are like a video but changed as a text says."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated
from urllib.parse import urljoin

import typer
from rich.markup import escape
from rich.table import Table

from covr.client import DEFAULT_URL, Client, Result, SearchAnswer
from covr.errors import UserError
from covr.report.console import console


def query(
    text: Annotated[
        str | None, typer.Option("--text", "-t", help="What should be different; alone: what is looked for.")
    ] = None,
    refines: Annotated[
        list[str] | None,
        typer.Option("--refines", help="A sentence before --text, whose answer it refines; repeatable."),
    ] = None,
    video: Annotated[Path | None, typer.Option("--video", help="The query video: a file that is sent.")] = None,
    video_url: Annotated[
        str | None, typer.Option("--video-url", help="The query video: one that the endpoint fetches, where it may.")
    ] = None,
    clip: Annotated[str | None, typer.Option("--clip", help="The query video: the id of an indexed clip.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many answers.")] = 10,
    where: Annotated[
        str | None,
        typer.Option("--filter", help='As JSON: {"field": "label", "equal": "jump"}; in, range, and, or, not.'),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="A clip that is no answer; repeatable.")
    ] = None,
    cursor: Annotated[str | None, typer.Option("--cursor", help="For the next page: what the last one named.")] = None,
    retriever: Annotated[str | None, typer.Option(help="One of the endpoint's retrievers; none: the first.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say how the answer came about.")] = False,
    url: Annotated[str, typer.Option("--url", envvar="COVR_URL", help="The endpoint.")] = DEFAULT_URL,
    key: Annotated[str | None, typer.Option(envvar="COVR_KEY", help="API key; better by COVR_KEY.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Find the clips that are like a query video but changed as a text says (one of --video and --clip, --text, or
    both)."""
    with Client(url, key=key) as client:
        answer = client.search(
            text=text,
            video=video,
            video_url=video_url,
            clip_id=clip,
            refines=refines or [],
            k=k,
            filter=_filter(where),
            exclude=exclude or [],
            cursor=cursor,
            retriever=retriever,
        )
    if as_json:
        print(answer.model_dump_json(indent=2))
        return
    console.print(table(answer, url=url))
    for line in remarks(answer):
        console.print(line, markup=False)
    if answer.next:
        console.print(f"next page: --cursor {answer.next}", markup=False)
    if explain:
        console.print(_explained(answer))


def _filter(given: str | None) -> dict | None:
    try:
        return None if given is None else json.loads(given)
    except json.JSONDecodeError as error:
        raise UserError(
            f"not JSON ({error.msg})", f"--filter, character {error.pos}", "see covr query --help"
        ) from None


_CONFIDENT = {True: "yes", False: "no", None: "not measured for such queries"}


def remarks(answer: SearchAnswer) -> list[str]:
    """What people should know before they rely on an answer."""
    said = []
    if answer.confident is False:
        said.append("not confident: validation queries with such a score were often answered wrongly")
    if answer.unseen:
        said.append(f"the model was never trained on: {', '.join(answer.unseen)}")
    if answer.truncated:
        said.append("the text is longer than the model reads: its end had no influence")
    return said


def _explained(answer: SearchAnswer) -> Table:
    """Stages and facts of one answer."""
    shown = Table(show_header=False)
    stages = answer.timings_ms
    share = answer.text_share
    rows = {
        "query": answer.mode,
        "text read": answer.text or "none",
        "words never trained on": "not known" if answer.unseen is None else ", ".join(answer.unseen) or "none",
        "cut off": "its end" if answer.truncated else "nothing",
        "confident": _CONFIDENT[answer.confident],
        "text share": "none in this model" if share is None else f"{share:.2f}",
        "decode": "nothing sent" if stages.decode is None else f"{stages.decode:.1f} ms",
        "waited": f"{stages.queue:.1f} ms",
        "encode": f"{stages.encode:.1f} ms, a batch of {answer.batch_size}",
        "search": f"{stages.search:.1f} ms",
        "whole": f"{answer.took_ms:.1f} ms",
        "retriever": answer.retriever,
        "index": answer.index,
    }
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def table(answer: SearchAnswer, *, url: str | None = None, right: Collection[str] | None = None) -> Table:
    """The answers as a table.

    Args:
        url: of the endpoint, for links to the media; None leaves them out.
        right: the clips that are right answers, to be marked; None where they are not known.
    """
    shown = Table(caption=f"{answer.took_ms:.0f} ms, request {answer.request_id}", caption_justify="left")
    for heading in ("rank", "score"):
        shown.add_column(heading, justify="right")
    for heading in ("clip", "label", "seconds", *(["media"] if url else []), *(["right"] if right is not None else [])):
        shown.add_column(heading, overflow="fold")
    for result in answer.results:
        media = [urljoin(url, result.media)] if url else []
        mark = [] if right is None else ["yes" if result.clip_id in right else ""]
        shown.add_row(
            str(result.rank),
            f"{result.score:.4f}",
            escape(result.clip_id),
            escape(result.label or ""),
            _seconds(result),
            *media,
            *mark,
        )
    return shown


def _seconds(result: Result) -> str:
    if result.start_s is None and result.end_s is None:
        return "whole"
    end = "end" if result.end_s is None else f"{result.end_s:g}"
    return f"{result.start_s or 0:g} to {end}"
