"""The scores that weigh a target's frames: how near each frame is to the query's words (CoVR's column `scores`).

Shapes: B queries, T frames, P width of the shared space.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from covr.config.compose import build
from covr.datasets.annotations import read_csv
from covr.datasets.rows import Rows
from covr.datasets.webvid import WebVid
from covr.embed.features import Features
from covr.errors import UserError
from covr.job import Job
from covr.models import ComposedRetriever
from covr.models.joint import JointRetriever
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.tracking import RunLogger

DECIMALS = 4  # as published
BATCH = 256


def score_targets(job: Job) -> dict[str, Any]:
    """Score the frames of each query's annotated target with the model at `pretrain/model`, whose features are there.

    Writes `scores/<split>/<annotation file>`: the annotations as they are, but for `scores`, which holds the cosines of
    the target's frames to the modification read alone, or `[]` where the target has no features. Read with
    `data.files.<split>=FILE`, they become target_weights, and `target_pooling=scores` weighs frames by them.

    Returns:
        {queries, scored, files}.

    Raises:
        UserError: a data set without scores, a model without a vector a frame, or a step before is missing.
    """
    data = build(job.cfg.data)
    if not isinstance(data, WebVid):
        fix = "use data=webvid-covr or dense-webvid-covr, or set model.joint.target_pooling=mean"
        raise UserError("the annotations of this data set have no column for scores", f"data={job.cfg.data.name}", fix)
    if "joint" not in job.cfg.model:
        raise UserError("this model keeps no vector a frame", f"model={job.cfg.model.name}", "use model=blip-covr")
    model = job.root / "pretrain/model"
    if not model.exists():
        raise UserError("there is no model", str(model), "run jobs/pretrain.py and jobs/embed.py first")
    retriever: JointRetriever = ComposedRetriever.load(model)
    store = TableStore(job.root / "tables/triplets", "triplets")
    features = Features(job.root, retriever.target_encoder.fingerprint())
    files = {split: job.root / "scores" / split / PurePath(data.files[split]).name for split in data.splits}

    def work(run: RunLogger) -> dict[str, Any]:
        triplets = store.require(["query_id", "modifications", "target_clips"], made_by="ingest")
        cuda = job.cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
        found = dict(frame_scores(job.root, retriever.to("cuda" if cuda else "cpu"), triplets))
        for split, file in files.items():
            file.write_bytes(_with_scores(data, split, found))
            say(f"  written: {file}")
        run.log_metrics({"scored": len(found)})
        return {"queries": len(triplets), "scored": len(found), "files": [str(file) for file in files.values()]}

    return job.step(
        "score_targets",
        settings={"splits": list(data.splits), "files": dict(data.files)},
        inputs={
            "triplets": store.content_fingerprint(),
            "model": retriever.fingerprint,
            "features": features.store.content_fingerprint(),
        },
        outputs=list(files.values()),
        work=work,
    )


@torch.inference_mode()
def frame_scores(root: Place, retriever: JointRetriever, triplets: pa.Table) -> Iterator[tuple[str, str]]:
    """Each query whose annotated target has frame vectors, with their scores as a list in a string.

    Args:
        triplets: with query_id, modifications (the first is read) and target_clips.

    Raises:
        UserError: nothing was embedded with this model, or it keeps several vectors a frame.
    """
    asking: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in triplets.select(["query_id", "modifications", "target_clips"]).to_pylist():
        if row["target_clips"]:
            asking[row["target_clips"][0]].append((row["query_id"], row["modifications"][0]))
    clips = TableStore(root / "tables/clips", "clips").require(made_by="ingest")
    clips = clips.filter(pc.is_in(clips["clip_id"], pa.array(sorted(asking), pa.string())))
    waiting: list[tuple[str, str, np.ndarray]] = []
    for clip_id, frames_TP in Features(root, retriever.target_encoder.fingerprint()).each(clips, "frames"):
        if frames_TP.ndim != 2:
            fix = "make the scores with model=blip-covr, as published"
            raise UserError("this model keeps several vectors a frame", type(retriever).__name__, fix)
        unit_TP = frames_TP / np.linalg.norm(frames_TP, axis=1, keepdims=True)
        waiting += [(query_id, text, unit_TP) for query_id, text in asking[clip_id]]
        while len(waiting) >= BATCH:
            yield from _scored(retriever, waiting[:BATCH])
            del waiting[:BATCH]
    if waiting:
        yield from _scored(retriever, waiting)


def _scored(retriever: JointRetriever, batch: list[tuple[str, str, np.ndarray]]) -> Iterator[tuple[str, str]]:
    texts_BP = retriever.text_target([text for _, text, _ in batch]).double().cpu().numpy()
    for (query_id, _, unit_TP), text_P in zip(batch, texts_BP, strict=True):
        yield query_id, str(np.round(unit_TP @ text_P, DECIMALS).tolist())


def _with_scores(data: WebVid, split: str, scores: Mapping[str, str]) -> bytes:
    """The annotation file of a split with other scores, as CSV."""
    text = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    names = Rows(data.name, data.place, media=None)
    for record in read_csv(data.place.resolve(data.files[split]), ("scores",)):
        if writer is None:
            writer = csv.DictWriter(text, list(record.fields), lineterminator="\n")
            writer.writeheader()
        query_id = names.query_id(split, data.number(record))
        writer.writerow({**record.fields, "scores": scores.get(query_id, "[]")})
    return text.getvalue().encode(errors="surrogateescape")  # bytes that were read so and are not looked at
