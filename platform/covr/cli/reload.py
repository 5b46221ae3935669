"""`covr reload`: a running endpoint takes the retriever and index that its storage root names now."""

from __future__ import annotations

from typing import Annotated

import typer

from covr.client import DEFAULT_URL, Client
from covr.report.console import console


def reload(
    url: Annotated[str, typer.Option("--url", envvar="COVR_URL", help="The endpoint.")] = DEFAULT_URL,
    key: Annotated[str | None, typer.Option(envvar="COVR_KEY", help="API key with the scope admin.")] = None,
    timeout_s: Annotated[float, typer.Option(help="How long the new pair may take to load.")] = 600.0,
    retriever: Annotated[str | None, typer.Option(help="One of the endpoint's retrievers; none: the first.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what serves now as JSON.")] = False,
) -> None:
    """Have a running endpoint swap to the retriever and index that its storage root names now."""
    with Client(url, timeout_s=timeout_s, key=key) as client:
        ready = client.reload(retriever=retriever)
    if as_json:
        print(ready.model_dump_json(indent=2))
    else:
        console.print(f"{ready.clips} clips, retriever {ready.retriever[:12]}, index {ready.index[:12]}")
