"""`covr clips add|remove|get`: the clips of a running endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covr.client import DEFAULT_URL, Client
from covr.errors import UserError

clips = typer.Typer(help="The clips that a running endpoint has indexed.", no_args_is_help=True)

_Url = Annotated[str, typer.Option("--url", envvar="COVR_URL", help="The endpoint.")]
_Key = Annotated[str | None, typer.Option("--key", envvar="COVR_KEY", help="API key with the scope ingest.")]
_Retriever = Annotated[str | None, typer.Option("--retriever", help="One of the endpoint's; none: the first.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]


@clips.command()
def add(
    clip_id: Annotated[str, typer.Argument(help="A clip of this id is replaced.")],
    video: Annotated[Path, typer.Argument(help="A video or image file.")],
    label: Annotated[str | None, typer.Option(help="What it shows.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, for filters; repeatable.")] = None,
    url: _Url = DEFAULT_URL,
    key: _Key = None,
    retriever: _Retriever = None,
    as_json: _Json = False,
) -> None:
    """Index a file: it is found by the next query."""
    attributes = dict(_pair(each) for each in attribute or [])
    with Client(url, key=key) as client:
        clip = client.add_clip(clip_id, video, label=label, attributes=attributes, retriever=retriever)
    print(clip.model_dump_json(indent=2) if as_json else f"{clip.clip_id}: {clip.num_frames} frames, indexed")


@clips.command()
def remove(
    clip_id: str, url: _Url = DEFAULT_URL, key: _Key = None, retriever: _Retriever = None, as_json: _Json = False
) -> None:
    """Index a clip no more; its file stays."""
    with Client(url, key=key) as client:
        removed = client.remove_clip(clip_id, retriever=retriever)
    print(removed.model_dump_json(indent=2) if as_json else f"{removed.clip_id}: removed")


@clips.command()
def get(
    clip_id: str, url: _Url = DEFAULT_URL, key: _Key = None, retriever: _Retriever = None, as_json: _Json = False
) -> None:
    """What is known of an indexed clip."""
    with Client(url, key=key) as client:
        clip = client.clip(clip_id, retriever=retriever)
    if as_json:
        print(clip.model_dump_json(indent=2))
        return
    for name, value in clip.model_dump().items():
        print(f"{name}: {value}")


def _pair(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise UserError("an attribute is NAME=VALUE", given, "write it as --attribute turns=2")
    return name, value
