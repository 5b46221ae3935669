"""`covr import-checkpoint` and `covr export-checkpoint`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from covr.errors import UserError, printable
from covr.report.console import say
from covr.storage import Place

SHOWN = 5  # names of a list that are printed; published.json has them all


def import_checkpoint(
    layout: Annotated[
        str, typer.Argument(help="aim, openai-clip, blip, blip2, covr, covr2, bse-covr, ecde, tf-covr or combiner")
    ],
    file: Annotated[Path, typer.Argument(help="the published file (.pth, .pt, .ckpt or .safetensors)")],
    destination: Annotated[str, typer.Argument(help="the folder to write: a path, s3:// or gs://")],
    size: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, for what the file does not tell: num_heads, text_num_heads, adapter_scale, ..."),
    ] = None,
    fresh: Annotated[
        list[str] | None, typer.Option(help="beginning of the names that may stay random where the file lacks them")
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(help="of tf-covr: the AIM file behind its vectors; the folder can then be served"),
    ] = None,
    video_size: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, for what the AIM file does not tell: num_heads, adapter_scale")
    ] = None,
    keep_unused: Annotated[bool, typer.Option(help="keep tensors that the model has no place for")] = True,
) -> None:
    """Turn a published checkpoint into a folder with safetensors, configuration and model card.

    Nothing in the file is run; every key is accounted for; nothing is written unless all of it could be read.
    """
    from covr.checkpoints import folders  # the models take seconds to import

    loaded = folders.import_checkpoint(
        layout,
        file,
        Place(destination),
        fresh=fresh or (),
        keep_unused=keep_unused,
        sizes=_sizes(size or ()),
        video=video,
        video_sizes=_sizes(video_size or ()),
    )
    num_parameters = sum(parameter.numel() for parameter in loaded.module.parameters())
    say(f"{escape(printable(file.name))}: {loaded.file.format} file, layout {layout}, {num_parameters:,} parameters")
    _list("used", loaded.origin.dtypes)
    _list("ignored", loaded.ignored)
    _list("missing, left at random as asked", loaded.origin.fresh)
    _list("other entries, not read", loaded.file.extras)
    _list("classes not imported", loaded.file.inert)
    say(f"written: {escape(destination)}")


def export_checkpoint(
    source: Annotated[str, typer.Argument(help="a folder written by covr")],
    file: Annotated[Path, typer.Argument(help="the file to write")],
    layout: Annotated[str | None, typer.Option(help="needed where the folder was not imported")] = None,
) -> None:
    """Write a folder's weights back as a file of the published layout."""
    from covr.checkpoints import folders

    if file.exists():
        raise UserError("the file is there already", str(file), "give a new name")
    say(f"written: {file} (layout {folders.export_checkpoint(Place(source), file, layout)})")


def _list(what: str, names: Iterable[str]) -> None:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    if names:
        say(f"  {what}: {len(names)} ({escape(printable(', '.join(names[:SHOWN])))}{more})")


def _sizes(options: Sequence[str]) -> dict[str, int | float | str]:
    sizes: dict[str, int | float | str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"a size without a value: {option!r}", "--size", "write it as NAME=VALUE")
        sizes[name] = _number(value)
    return sizes


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
