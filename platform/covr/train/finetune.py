"""Stage 2 as a job: every trainable row of the comparison is a retriever of its own, on the same budget and seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch import nn

from covr.cluster.session import connect
from covr.config.compose import build
from covr.embed.read import SideFeatures, pooled
from covr.embed.refused import refused
from covr.errors import UserError
from covr.evaluate.queries import Queries
from covr.job import Job
from covr.losses import WeightedTargets
from covr.models import ComposedRetriever, build_retriever, load_video
from covr.models.folder import load_exactly
from covr.models.fusion import Kind
from covr.models.joint import JointRetriever
from covr.models.video.encoder import VideoEncoder
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from covr.tables import right_targets
from covr.tracking import RunLogger
from covr.train.fit import fit
from covr.train.recipe import Recipe
from covr.train.triplets import TripletTask
from covr.train.vectors import Vectors
from covr.train.workers import Workers

DECISIVE = ("text", "fusion", "center", "query_video", "loss", "loss_terms", "optimizer", "scheduler", "finetune")
"""The parts of `model` that a trained row depends on, beside its starting weights."""
CHANCE = "chance"  # nothing to train
MAIN = "composed"
FUSION_OF: dict[str, Kind | None] = {
    "composed": None,  # as configured
    "text-only": "text-only",
    "video-only": "video-only",
    "average": "average",
}
LACKING = {"text-only": "fusion", "video-only": "text"}
"""What a row has no weights of."""


def finetune(job: Job) -> dict[str, Any]:
    """Train each row of `cfg.rows` and save it as `retrievers/<row>/`.

    `average` has nothing of its own to train: its text side is that of `text-only`.

    Raises:
        UserError: an unknown row, or a step before this one was not run.
    """
    rows = [row for row in job.cfg.rows if row != CHANCE]
    for row in rows:
        if row not in FUSION_OF:
            raise UserError(f"no row {row!r}", "rows", f"choose from {', '.join([*FUSION_OF, CHANCE])}")
    _loss_terms(job.cfg.model)
    model_place = job.root / "pretrain" / "model"
    if not model_place.is_dir():
        raise UserError("there is no stage-1 encoder", str(model_place), "run jobs/pretrain.py first")
    if "joint" in job.cfg.model:
        return {MAIN: _joint(job, rows, ComposedRetriever.load(model_place))}
    video = load_video(model_place)
    lacking = refused(job.root, video.fingerprint())
    queries = [Queries.read(job.root, split).without(lacking) for split in ("train", "val")]
    inputs = {"triplets": fingerprint(*(split.origin for split in queries)), "encoder": video.fingerprint()}
    if job.cfg.model.ckpt.path is not None:
        inputs["start"] = ComposedRetriever.load(job.cfg.model.ckpt.path).fingerprint
    trained = sorted((row for row in rows if row != "average"), key=list(FUSION_OF).index)
    vectors = partial(_vectors, job.root, queries, video)
    results = {
        row: _train(job, row, partial(_retriever, job.cfg.model, FUSION_OF[row], model_place), vectors, lacking, inputs)
        for row in trained
    }
    if "average" in rows:
        results["average"] = _average(job, video)
    return results


def _train(
    job: Job,
    row: str,
    build_retriever: Callable[[], Any],
    write_vectors: Callable[[], dict[str, Any]],
    lacking: frozenset[str],
    inputs: dict[str, str],
) -> dict[str, Any]:
    """Train one row; `write_vectors` gives the files of features that `TripletTask` reads."""
    model, out = job.cfg.model, job.root / "retrievers" / row
    terms = _loss_terms(model)
    if row == "video-only" and "si_tc" in terms:  # no text encoder, no vectors of captions
        del terms["si_tc"]
        say(f"[dim]finetune/{row}: reads no text, and is trained without si_tc[/dim]")
    if "si_tc" in terms:
        inputs = {**inputs, "texts": TableStore(job.root / "tables" / "texts", "texts").content_fingerprint()}
    settings = {
        "row": row,
        "seed": job.cfg.seed,
        "precision": job.cfg.trainer.precision,
        "gradcache_rows": job.cfg.trainer.gradcache_rows,
        **{part: _plain(model[part]) for part in DECISIVE if part in model},
    }

    def work(run: RunLogger) -> dict[str, Any]:
        workers = Workers.from_config(job.cfg.trainer, connect(job.cfg.machine), data_cpus=0)
        make_task = partial(
            TripletTask,
            build=build_retriever,
            loss=WeightedTargets(build(model.loss), terms),
            root=job.root,
            **write_vectors(),
            refused=lacking,
            out=out,
        )
        return fit(
            make_task,
            recipe=Recipe(
                max_epochs=model.finetune.max_epochs,
                batch_size=model.finetune.batch_size,
                lr=model.optimizer.lr,
                weight_decay=model.optimizer.weight_decay,
                warmup=model.scheduler.warmup,
                clip_grad=model.finetune.clip_grad,
                seed=job.cfg.seed,
                optimizer=model.optimizer.name,
                decay=model.optimizer.decay,
                lr_scale=_lr_scale(model, row),
                ema=model.optimizer.ema,
                scheduler=model.scheduler.name,
                unit=model.scheduler.unit,
                factor=model.scheduler.factor,
            ),
            workers=workers,
            logger=run,
            checkpoints=job.root / "finetune" / "checkpoints" / row,
            name=fingerprint(settings, inputs)[:16],
        )

    return job.step(f"finetune/{row}", settings=settings, inputs=inputs, outputs=[out / "config.json"], work=work)


def _loss_terms(model: DictConfig) -> dict[str, float]:
    """Weights of the targets that the rows are trained against, those of weight 0 left out."""
    terms = {name: weight for name, weight in _plain(model.loss_terms).items() if weight}
    for name in terms:
        if name not in ("si_ti", "si_tc"):
            raise UserError("stage 2 has no such target", f"model.loss_terms.{name}", "set it to 0")
    if "si_ti" not in terms:
        raise UserError("stage 2 needs the clips as targets", "model.loss_terms.si_ti", "give it a weight above 0")
    return terms


def _lr_scale(model: DictConfig, row: str) -> dict[str, float]:
    """The rates of the parts that a row has."""
    scales = dict(model.optimizer.lr_scale or {})
    return {name: scale for name, scale in scales.items() if name.split(".")[0] != LACKING.get(row)}


def _joint(job: Job, rows: list[str], start: JointRetriever) -> dict[str, Any]:
    """Train the joint model from what is stored of the clips, or take it as it is where nothing is to be trained."""
    if rows != [MAIN]:
        raise UserError("a joint model is one row", f"rows={job.cfg.rows}", f"set rows=[{MAIN},{CHANCE}]")
    place, out = job.root / "pretrain" / "model", job.root / "retrievers" / MAIN
    if not (job.cfg.model.finetune.max_epochs and any(value.requires_grad for value in start.parameters())):

        def work(run: RunLogger) -> dict[str, Any]:
            start.save(out)
            return {"target_fingerprint": start.target_fingerprint}

        inputs = {"start": start.fingerprint}
        return job.step(f"finetune/{MAIN}", settings={}, inputs=inputs, outputs=[out / "config.json"], work=work)
    start.check_trained_from_features()
    features = SideFeatures(job.root, start)
    lacking = frozenset[str]().union(*(refused(job.root, encoder) for encoder in features.encoders))
    queries = [Queries.read(job.root, split).without(lacking) for split in ("train", "val")]
    inputs = {"triplets": fingerprint(*(split.origin for split in queries)), "encoder": start.fingerprint}
    if start.train().needs.query_description is not None:
        inputs["texts"] = TableStore(job.root / "tables" / "texts", "texts").content_fingerprint()
    vectors = partial(_side_vectors, job.root, queries, features)
    return _train(job, MAIN, partial(ComposedRetriever.load, place), vectors, lacking, inputs)


def _average(job: Job, video: VideoEncoder) -> dict[str, Any]:
    """Put the text encoder of the text-only retriever beside the video vector, as trained."""
    source, out = job.root / "retrievers" / "text-only", job.root / "retrievers" / "average"
    if not source.is_dir():
        raise UserError("the row average takes its text encoder from text-only", "rows", "add text-only to rows")
    text_only = ComposedRetriever.load(source)

    def work(run: RunLogger) -> dict[str, Any]:
        retriever = build_retriever(job.cfg.model, video, "average")
        retriever.center.copy_(text_only.center)
        _load_part(retriever.text, text_only.text, str(source))
        retriever.save(out)
        return {"fingerprint": retriever.fingerprint, "target_fingerprint": retriever.target_fingerprint}

    return job.step(
        "finetune/average",
        settings={"row": "average", "center": job.cfg.model.center, "query_video": job.cfg.model.query_video},
        inputs={"text-only": text_only.fingerprint, "encoder": video.fingerprint()},
        outputs=[out / "config.json"],
        work=work,
    )


def _retriever(model: DictConfig, fusion: Kind | None, video: Place) -> ComposedRetriever:
    """A new retriever around the stage-1 encoder, started from `model.ckpt.path` where one is given."""
    retriever = build_retriever(model, load_video(video), fusion)
    if model.ckpt.path is not None:
        start = ComposedRetriever.load(model.ckpt.path)
        _load_part(retriever.text, start.text, model.ckpt.path)
        if retriever.fusion.config.kind == start.fusion.config.kind:
            _load_part(retriever.fusion, start.fusion, model.ckpt.path)
    return retriever


def _load_part(part: nn.Module | None, source: nn.Module | None, where: str) -> None:
    if part is not None and source is not None:
        load_exactly(part, source.state_dict(), where)


def _vectors(root: Place, queries: list[Queries], video: VideoEncoder) -> dict[str, Any]:
    """The file of all vectors that stage 2 reads, written from the features table unless it is there."""
    encoder, clip_ids = video.fingerprint(), sorted({*_asking(queries), *_answering(queries)})
    return {"vectors": _written(root, encoder, clip_ids, partial(pooled, root, encoder, clip_ids))}


def _side_vectors(root: Place, queries: list[Queries], features: SideFeatures) -> dict[str, Any]:
    """A file of what each side reads."""
    asking, answering = sorted(_asking(queries)), sorted(_answering(queries))
    target = _written(root, features.target_encoder, answering, partial(features.target, answering))
    query = _written(root, str(features.query_encoder), asking, partial(features.query, asking))
    return {"vectors": target, "query_vectors": query}


def _written(root: Place, encoder: str, clip_ids: list[str], read: Callable[[], np.ndarray]) -> Place:
    place = root / "finetune" / "vectors" / f"{fingerprint(encoder, clip_ids)[:16]}.arrow"
    if not place.exists():
        Vectors.write(place, clip_ids, read())
    return place


def _asking(queries: list[Queries]) -> set[str]:
    return {clip for split in queries for clip in split.triplets["query_clip"].to_pylist()}


def _answering(queries: list[Queries]) -> set[str]:
    """Right answers, and the galleries of validation."""
    found = {clip for split in queries for _, clips in split.groups("corrected") for clip in clips}
    return found.union(*(right_targets(split.triplets).flatten().to_pylist() for split in queries))


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
