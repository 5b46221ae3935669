"""`covr export-mteb`."""

from __future__ import annotations

from typing import Annotated

import typer

from covr.datasets.mteb import export_mteb as export
from covr.report.console import say
from covr.storage import Place


def export_mteb(
    out: Annotated[str, typer.Argument(help="storage root of an ingested data set (the jobs' `out`)")],
    folder: Annotated[str, typer.Argument(help="the folder to write: a path, s3:// or gs://")],
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    gallery: Annotated[
        str, typer.Option(help="the queries' gallery, by protocol: corrected, local, all, ...")
    ] = "corrected",
) -> None:
    """Write a data set as corpus, queries and qrels in mteb's layout, for other models and tools."""
    written = export(Place(out), Place(folder), split, gallery)
    say(f"written: {folder} ({', '.join(f'{name} {rows}' for name, rows in written.items())})")
