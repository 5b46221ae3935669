"""`covr export-features` and `covr export-texts`."""

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


def export_texts(
    out: Annotated[str, typer.Argument(help="storage root of an ingested data set (the jobs' `out`)")],
    file: Annotated[str, typer.Argument(help="the .pth or .pt file to write: a path, s3:// or gs://")],
    kind: Annotated[str, typer.Option(help="caption, description, ..., or modification")] = "caption",
    model: Annotated[str, typer.Option(help="the retriever's folder below OUT")] = "pretrain/model",
) -> None:
    """Write the vectors of a data set's texts as one table, as CoVR's save_blip_embs_txts.py does."""
    from covr.embed.text_tables import export_texts as export  # torch takes seconds to import

    say(f"written: {file} ({export(Place(out), Place(file), kind, model)} texts)")
