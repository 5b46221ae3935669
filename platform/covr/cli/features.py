"""`covr export-features`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from covr.report.console import say
from covr.storage import Place


def export_features(
    out: Annotated[str, typer.Argument(help="storage root of an embedded data set (the jobs' `out`)")],
    folder: Annotated[str, typer.Argument(help="the folder to write: a path, s3:// or gs://")],
    side: Annotated[Literal["target", "query"], typer.Option(help="whose features, where the sides differ")] = "target",
    feature: Annotated[
        Literal["pooled", "frames", "tokens"] | None, typer.Option(help="default: the one that the side reads")
    ] = None,
    suffix: Annotated[Literal[".pth", ".npy"], typer.Option(help="a torch tensor or a NumPy array")] = ".pth",
) -> None:
    """Write each clip's features as one file, named by the clip, as CoVR, BSE-CoVR, TF-CoVR and FineCVR read them."""
    from covr.embed.export import export_features as export  # torch takes seconds to import

    counts = export(Place(out), Place(folder), side, feature, suffix)
    say(f"written: {folder} ({counts['written']} of {counts['clips']} clips)")
