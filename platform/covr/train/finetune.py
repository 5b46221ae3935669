"""Stage 2 as a job: every trainable row of the comparison is a retriever of its own, on the same budget and seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from covr.cluster.session import connect
from covr.config.compose import build
from covr.embed.read import SideFeatures
from covr.embed.refused import refused
from covr.errors import UserError
from covr.evaluate.queries import Queries
from covr.job import Job
from covr.losses import WeightedTargets
from covr.models import ComposedRetriever, build_retriever, load_video
from covr.models.folder import RERANK, load_exactly
from covr.models.fusion import Kind
from covr.models.joint import JointRetriever
from covr.models.joint.store import joint_on_video
from covr.models.text.words import Vocabulary
from covr.models.video.encoder import VideoEncoder
from covr.models.video.stored import contents
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger
from covr.train.fit import Watch, fit
from covr.train.loop import MakeTask
from covr.train.recipe import Recipe
from covr.train.task import Shard
from covr.train.triplets import TripletTask
from covr.train.vector_files import pooled_file, side_files
from covr.train.workers import Workers

DECISIVE = (
    *("text", "fusion", "joint", "center", "query_video", "query_frames", "head"),
    *("loss", "loss_terms", "optimizer", "scheduler", "finetune", "rerank", "skip"),
)
"""The parts of `model` that a trained row depends on, beside its starting weights."""
CHANCE = "chance"  # nothing to train
MAIN = "composed"
FUSION_OF: dict[str, Kind | None] = {
    "composed": None,  # as configured
    "text-only": "text-only",
    "video-only": "video-only",
    "average": "average",
}
TARGET_FILES = ("captions", "multimodal")
"""Names below `model.loss_terms` that are no weights."""
LACKING = {"text-only": "fusion", "video-only": "text"}
"""What a row has no weights of."""


def finetune(job: Job, name: str = MAIN, watch: Watch | None = None) -> dict[str, Any]:
    """Train each row of `cfg.rows` and save it as `retrievers/<row>/`; the configured one under another name if given.

    `average` has nothing of its own to train: its text side is that of `text-only`. `watch` is called with each
    validation (see `fit`).

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
    joint = "joint" in job.cfg.model
    if joint and rows != [MAIN]:
        raise UserError("a joint model is one row", f"rows={job.cfg.rows}", f"set rows=[{MAIN},{CHANCE}]")
    if joint and "video" not in job.cfg.model:
        return {name: _joint(job, name, partial(ComposedRetriever.load, model_place))}
    if not joint and not job.cfg.model.finetune.max_epochs:
        return {
            called: _as_it_is(job, called, _given(job.cfg.model, FUSION_OF[row], model_place))
            for row, called in ((row, name if row == MAIN else row) for row in rows)
        }
    video = load_video(model_place)
    lacking = refused(job.root, video.fingerprint())
    queries = _queries(job.root, lacking)
    if joint:
        return {name: _joint(job, name, partial(_on_video, job.cfg.model, model_place), video)}
    inputs = {"triplets": fingerprint(*(split.origin for split in queries)), "encoder": video.fingerprint()}
    start = _row_or_place(job, job.cfg.model.ckpt.path)
    if start is not None:
        inputs["start"] = ComposedRetriever.load(start).fingerprint
    if job.cfg.model.get("rerank") is not None:
        if job.cfg.model.rerank.retriever is None:
            raise UserError("the second stage is needed", "model.rerank.retriever", "give a retriever's folder")
        inputs["rerank"] = ComposedRetriever.load(_row_or_place(job, job.cfg.model.rerank.retriever)).fingerprint
    trained = sorted((row for row in rows if row != "average"), key=list(FUSION_OF).index)
    vectors, known = partial(pooled_file, job.root, queries, video), _vocabulary(queries[0])
    if job.cfg.model.get("query_frames", "all") == "middle":
        sides = SideFeatures(job.root, build_retriever(job.cfg.model, video))
        vectors = partial(side_files, job.root, queries, sides)
    builders = {row: partial(_retriever, job.cfg.model, FUSION_OF[row], model_place, start) for row in trained}
    results = {
        called: _train(job, called, builders[row], vectors, known, lacking, inputs, watch)
        for row, called in ((row, name if row == MAIN else row) for row in trained)
    }
    if "average" in rows:
        results["average"] = _average(job, video, known)
    return results


def _train(
    job: Job,
    row: str,
    build_retriever: Callable[[], Any],
    write_vectors: Callable[[], dict[str, Any]],
    known: Vocabulary,
    lacking: frozenset[str],
    inputs: dict[str, str],
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train one row; `write_vectors` gives the files of features that `TripletTask` reads, `known` stands beside it."""
    model, out = job.cfg.model, job.root / "retrievers" / row
    terms = _loss_terms(model)
    if row == "video-only" and "si_tc" in terms:  # no text encoder, no vectors of captions
        del terms["si_tc"]
        say(f"[dim]finetune/{row}: reads no text, and is trained without si_tc[/dim]")
    captions = None
    if "si_tc" in terms:
        inputs = {**inputs, "texts": TableStore(job.root / "tables" / "texts", "texts").content_fingerprint()}
        if model.loss_terms.get("captions"):
            captions = Place(model.loss_terms.captions)
            inputs["captions"] = captions.sha256() if captions.exists() else "none"
    multimodal = list(model.loss_terms.get("multimodal") or []) if "si_tm" in terms else []
    if multimodal:
        inputs = {**inputs, "multimodal": contents(multimodal)}
    settings = {
        "row": row,
        "seed": job.cfg.seed,
        "precision": job.cfg.trainer.precision,
        "gradcache_rows": job.cfg.trainer.gradcache_rows,
        **{part: _plain(model[part]) for part in DECISIVE if part in model},
    }

    def work(run: RunLogger) -> dict[str, Any]:
        workers = Workers.from_config(job.cfg.trainer, connect(job.cfg.machine), data_cpus=0)
        make_task: MakeTask = partial(
            TripletTask,
            build=build_retriever,
            loss=WeightedTargets(build(model.loss), terms),
            root=job.root,
            **write_vectors(),
            refused=lacking,
            captions=captions,
            multimodal=multimodal,
            out=out,
            mask_right=model.finetune.get("mask_right", True),
        )
        if "finetune" in model.get("skip", ()):
            result = make_task(Shard(rank=0, world=1, device=torch.device("cpu"), data_cpus=0)).finish()
        else:
            result = trained(run, workers, make_task)
        (out / RERANK).remove()
        if model.get("rerank") is not None:
            ComposedRetriever.load(_row_or_place(job, model.rerank.retriever)).save(out / RERANK)
            (out / RERANK / "top_n.json").write_json(model.rerank.top_n)
        known.write(out)
        return {**result, "devices": workers.devices}

    def trained(run: RunLogger, workers: Workers, make_task: MakeTask) -> dict[str, Any]:
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
            watch=watch,
        )

    return job.step(f"finetune/{row}", settings=settings, inputs=inputs, outputs=[out / "config.json"], work=work)


def _loss_terms(model: DictConfig) -> dict[str, float]:
    """Weights of the targets that the rows are trained against, those of weight 0 left out."""
    terms = {name: weight for name, weight in _plain(model.loss_terms).items() if weight and name not in TARGET_FILES}
    two_targets = "video" in model and str(model.get("joint", {}).get("_target_")).endswith(".ECDEConfig")
    for name in terms:
        if name not in ("si_ti", "si_tc", "si_tm"):
            raise UserError("stage 2 has no such target", f"model.loss_terms.{name}", "set it to 0")
    if "si_ti" not in terms:
        raise UserError("stage 2 needs the clips as targets", "model.loss_terms.si_ti", "give it a weight above 0")
    if "si_tm" in terms and not (two_targets or model.loss_terms.get("multimodal")):
        raise UserError(
            "the multimodal targets of model.loss_terms.si_tm are needed",
            "model.loss_terms.multimodal",
            "give the files or folders of their vectors, or set model.loss_terms.si_tm=0",
        )
    return terms


def _lr_scale(model: DictConfig, row: str) -> dict[str, float]:
    """The rates of the parts that a row has."""
    scales = dict(model.optimizer.lr_scale or {})
    return {name: scale for name, scale in scales.items() if name.split(".")[0] != LACKING.get(row)}


def _on_video(model: DictConfig, video: Place) -> JointRetriever:
    return joint_on_video(model, load_video(video))


def _row_or_place(job: Job, path: str | None) -> Any:
    """A retriever by its place, or as `row:NAME` among those trained in this root."""
    if path is None or not path.startswith("row:"):
        return path
    row = path.removeprefix("row:")
    place = job.root / "retrievers" / row
    if not (place / "config.json").exists():
        raise UserError(
            f"this row starts from the row {row!r}", str(place), "train that one first, or all by jobs/table.py"
        )
    return place


def _joint(job: Job, name: str, build: Callable[[], Any], video: VideoEncoder | None = None) -> dict[str, Any]:
    """Train the joint model from what is stored of the clips, or take it as it is where nothing is to be trained.

    Args:
        video: the stage-1 encoder that it is built on, where it is.
    """
    start: JointRetriever = build()
    learns = job.cfg.model.finetune.max_epochs and any(value.requires_grad for value in start.parameters())
    if video is None and not learns:
        return _as_it_is(job, name, start)
    start.check_trained_from_features()
    features = SideFeatures(job.root, start)
    lacking = frozenset[str]().union(*(refused(job.root, encoder) for encoder in features.encoders))
    queries = _queries(job.root, lacking)
    inputs = {
        "triplets": fingerprint(*(split.origin for split in queries)),
        "encoder": start.fingerprint if video is None else video.fingerprint(),
    }
    if start.train().needs.query_description is not None:
        inputs["texts"] = TableStore(job.root / "tables" / "texts", "texts").content_fingerprint()
    vectors = partial(side_files, job.root, queries, features)
    return _train(job, name, build, vectors, _vocabulary(queries[0]), lacking, inputs)


def _queries(root: Place, lacking: frozenset[str]) -> list[Queries]:
    """The splits that training reads."""
    train, val = Queries.to_train(root, lacking)
    if val is None:
        say("  the data set has no val split: nothing is validated while training")
    return [train] if val is None else [train, val]


def _as_it_is(job: Job, row: str, start: ComposedRetriever | JointRetriever) -> dict[str, Any]:
    """A row without training."""
    out = job.root / "retrievers" / row

    def work(run: RunLogger) -> dict[str, Any]:
        start.save(out)
        return {"target_fingerprint": start.target_fingerprint}

    inputs = {"start": start.fingerprint}
    return job.step(f"finetune/{row}", settings={}, inputs=inputs, outputs=[out / "config.json"], work=work)


def _given(model: DictConfig, fusion: Kind | None, video: Place) -> ComposedRetriever:
    """The retriever at `model.ckpt.path` around this root's encoder.

    Raises:
        UserError: none is given, or one whose fusion is another.
    """
    if model.ckpt.path is None:
        fix = "give the folder of a trained one: model.ckpt.path=OUT/retrievers/composed"
        raise UserError("nothing is to be trained, and no retriever is given", "model.finetune.max_epochs=0", fix)
    start = ComposedRetriever.load(model.ckpt.path)
    retriever = _retriever(model, fusion, video, model.ckpt.path)
    kind = retriever.fusion.config.kind
    if kind != start.fusion.config.kind and any(True for _ in retriever.fusion.parameters()):
        fix = f"set rows=[{MAIN}], or give a retriever of this kind"
        raise UserError(f"the retriever given is no {kind}, but a {start.fusion.config.kind}", model.ckpt.path, fix)
    retriever.center.copy_(start.center)
    return retriever


def _average(job: Job, video: VideoEncoder, known: Vocabulary) -> dict[str, Any]:
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
        known.write(out)
        return {"fingerprint": retriever.fingerprint, "target_fingerprint": retriever.target_fingerprint}

    return job.step(
        "finetune/average",
        settings={"row": "average", "center": job.cfg.model.center, "query_video": job.cfg.model.query_video},
        inputs={"text-only": text_only.fingerprint, "encoder": video.fingerprint()},
        outputs=[out / "config.json"],
        work=work,
    )


def _retriever(model: DictConfig, fusion: Kind | None, video: Place, place: Place | str | None) -> ComposedRetriever:
    """A new retriever around the stage-1 encoder, started from the one at `place` where one is given."""
    retriever = build_retriever(model, load_video(video), fusion)
    if place is not None:
        start = ComposedRetriever.load(place)
        _load_part(retriever.text, start.text, str(place))
        if retriever.fusion.config.kind == start.fusion.config.kind:
            _load_part(retriever.fusion, start.fusion, str(place))
    return retriever


def _load_part(part: nn.Module | None, source: nn.Module | None, where: str) -> None:
    if part is not None and source is not None:
        load_exactly(part, source.state_dict(), where)


def _vocabulary(queries: Queries) -> Vocabulary:
    """The words of every wording."""
    return Vocabulary.of(text for wordings in queries.triplets["modifications"].to_pylist() for text in wordings)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
