"""`covr score`: a benchmark's numbers from files, published and corrected side by side; no model and no video."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from covr.errors import UserError
from covr.evaluate import lists, vectors
from covr.evaluate.annotated import read_annotations
from covr.evaluate.protocols import benchmark
from covr.evaluate.protocols.webvid import READINGS
from covr.evaluate.ranking import Column, Ranking
from covr.evaluate.show import readings
from covr.evaluate.submission import read_predictions
from covr.evaluate.truth import Truth
from covr.report.console import console, say
from covr.storage import Place

TWO_STEP = {
    f"{data}{suffix}": row
    for data in ("webvid-covr", "dense-webvid-covr")
    for suffix, row in (("", "composed"), ("_text", "text-only"), ("_visual", "video-only"))
}
"""What `evaluate=` may be, and the row of the comparison whose vectors it reads."""

USUAL = {"evaluate": "", "mask": "correct", "data.emb_pool": "query"}
"""The words that vectors are scored by, with what holds where one is not given."""


def score(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[evaluate=NAME FOLDER [mask=MASK]]", help="recalls from files of vectors"),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="webvid-covr, cirr, circo, tf-covr, ...")] = None,
    annotations: Annotated[Path | None, typer.Option(help="the published annotation file")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="{query: [answers, best first]} as JSON, a TREC run, or a runs table")
    ] = None,
    gallery: Annotated[Path | None, typer.Option(help="EgoCVR's gallery file")] = None,
    targets: Annotated[
        str | None, typer.Option(help="evaluate=: folder of the targets' frame vectors, a .pth a video, as CoVR saves")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Score ranked answers from anywhere under a benchmark's protocol, or files of vectors as CoVR's scoring script.

    covr score --protocol circo --annotations val.json --predictions submission_val.json
    covr score evaluate=webvid-covr out/webvid
    """
    if words:
        if protocol or predictions or gallery:
            raise UserError("evaluate=NAME reads vectors", " ".join(words), "leave out --protocol and its files")
        columns = _score_vectors(words, annotations, targets, quiet=as_json)
        told = {"evaluate": words[0].removeprefix("evaluate=")}
    else:
        if targets or not (protocol and annotations and predictions):
            fix = "give --protocol, --annotations and --predictions, or evaluate=NAME FEATURES"
            raise UserError("what is to be scored?", "covr score", fix)
        columns = _score_predictions(protocol, annotations, predictions, gallery)
        told = {"protocol": protocol}
    if as_json:
        print(json.dumps({**told, "columns": {name: column.plain() for name, column in columns.items()}}, indent=2))
    else:
        console.print(readings(" ".join(told.values()), {name: column.plain() for name, column in columns.items()}))


def _score_predictions(
    protocol: str, annotations: Path, predictions: Path, gallery: Path | None
) -> Mapping[str, Column]:
    found = benchmark(protocol)
    asked = read_annotations(found.data, annotations, gallery)
    runs = read_predictions(predictions, asked.triplets["query_id"].to_pylist(), asked.prefix, protocol)
    truth = Truth.of(asked.triplets, asked.galleries, runs["clip_id"])
    ranked_QR = lists.from_runs(runs, truth.query_ids, truth.vocabulary, str(predictions))
    return found.score(Ranking(truth=truth, ranked_QR=ranked_QR, notes=asked.notes))


def _score_vectors(
    words: Sequence[str], annotations: Path | None, targets: str | None, *, quiet: bool
) -> Mapping[str, Column]:
    """Recalls of a folder of vectors under every mask; writes recalls.json (recalls_txt_only.json) beside."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    places = [word for word in words if "=" not in word]
    name, mask, pooling = (options.pop(key, usual) for key, usual in USUAL.items())
    if name not in TWO_STEP or len(places) != 1:
        fix = f"write evaluate=NAME FOLDER, NAME one of {', '.join(TWO_STEP)}"
        raise UserError("which vectors are to be scored?", " ".join(words), fix)
    if options:
        raise UserError("no such option", next(iter(options)), "evaluate=NAME FOLDER takes mask= and data.emb_pool=")
    if mask not in READINGS:
        raise UserError("no such mask", f"mask={mask}", f"choose one of {', '.join(READINGS)}")
    output, folder = vectors.OUTPUTS[TWO_STEP[name]], Path(places[0])
    asked = None if annotations is None else read_annotations(name.partition("_")[0], annotations)
    if asked is None or annotations is None:
        rows = vectors.AnnotatedRows.read(Place(folder) / vectors.ROWS)
    else:
        rows = vectors.AnnotatedRows.of(annotations.name, asked.triplets)
    query_QD = vectors.read_vectors(folder / output.features, len(rows.targets))
    if asked is not None and targets is not None:
        from covr.evaluate.target_folder import read_targets  # torch takes seconds to import

        target_QD = read_targets(Place(targets), asked.triplets, pooling)
    elif targets is not None:
        raise UserError("which rows are these?", f"--targets {targets}", "give --annotations as well")
    else:
        target_QD = vectors.read_vectors(folder / output.targets, len(rows.targets))
    columns = vectors.score_vectors(query_QD, target_QD, rows)
    for name in (output.recalls, output.released):
        (Place(folder) / name).write_json(vectors.recalls_json(columns[mask], rows.annotation))
    if not quiet:
        say(f"written: {folder / output.recalls}, {output.released} (mask={mask})")
    return columns
