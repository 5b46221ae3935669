"""Stage 2 as a job: every trainable row of the comparison is a retriever of its own, on the same budget and seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
from covr.models.folder import load_exactly
from covr.models.fusion import Kind
from covr.models.joint import JointRetriever
from covr.models.text.words import Vocabulary
from covr.models.video.encoder import VideoEncoder
from covr.models.video.stored import contents
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger
from covr.train.fit import fit
from covr.train.recipe import Recipe
from covr.train.triplets import TripletTask
from covr.train.vector_files import pooled_file, side_files
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
TARGET_FILES = ("captions", "multimodal")
"""Names below `model.loss_terms` that are no weights."""
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
    if not job.cfg.model.finetune.max_epochs:
        return {row: _as_it_is(job, row, _given(job.cfg.model, FUSION_OF[row], model_place)) for row in rows}
    video = load_video(model_place)
    lacking = refused(job.root, video.fingerprint())
    queries = _queries(job.root, lacking)
    inputs = {"triplets": fingerprint(*(split.origin for split in queries)), "encoder": video.fingerprint()}
    if job.cfg.model.ckpt.path is not None:
        inputs["start"] = ComposedRetriever.load(job.cfg.model.ckpt.path).fingerprint
    trained = sorted((row for row in rows if row != "average"), key=list(FUSION_OF).index)
    vectors, known = partial(pooled_file, job.root, queries, video), _vocabulary(queries[0])
    results = {}
    for row in trained:
        new = partial(_retriever, job.cfg.model, FUSION_OF[row], model_place)
        results[row] = _train(job, row, new, vectors, known, lacking, inputs)
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
    multimodal = list(model.loss_terms.multimodal) if "si_tm" in terms else []
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
        make_task = partial(
            TripletTask,
            build=build_retriever,
            loss=WeightedTargets(build(model.loss), terms),
            root=job.root,
            **write_vectors(),
            refused=lacking,
            captions=captions,
            multimodal=multimodal,
            out=out,
        )
        trained = fit(
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
        known.write(out)
        return trained

    return job.step(f"finetune/{row}", settings=settings, inputs=inputs, outputs=[out / "config.json"], work=work)


def _loss_terms(model: DictConfig) -> dict[str, float]:
    """Weights of the targets that the rows are trained against, those of weight 0 left out."""
    terms = {name: weight for name, weight in _plain(model.loss_terms).items() if weight and name not in TARGET_FILES}
    for name in terms:
        if name not in ("si_ti", "si_tc", "si_tm"):
            raise UserError("stage 2 has no such target", f"model.loss_terms.{name}", "set it to 0")
    if "si_ti" not in terms:
        raise UserError("stage 2 needs the clips as targets", "model.loss_terms.si_ti", "give it a weight above 0")
    if "si_tm" in terms and not model.loss_terms.get("multimodal"):
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


def _joint(job: Job, rows: list[str], start: JointRetriever) -> dict[str, Any]:
    """Train the joint model from what is stored of the clips, or take it as it is where nothing is to be trained."""
    if rows != [MAIN]:
        raise UserError("a joint model is one row", f"rows={job.cfg.rows}", f"set rows=[{MAIN},{CHANCE}]")
    if not (job.cfg.model.finetune.max_epochs and any(value.requires_grad for value in start.parameters())):
        return _as_it_is(job, MAIN, start)
    start.check_trained_from_features()
    features = SideFeatures(job.root, start)
    lacking = frozenset[str]().union(*(refused(job.root, encoder) for encoder in features.encoders))
    queries = _queries(job.root, lacking)
    inputs = {"triplets": fingerprint(*(split.origin for split in queries)), "encoder": start.fingerprint}
    if start.train().needs.query_description is not None:
        inputs["texts"] = TableStore(job.root / "tables" / "texts", "texts").content_fingerprint()
    vectors = partial(side_files, job.root, queries, features)
    load = partial(ComposedRetriever.load, job.root / "pretrain" / "model")
    return _train(job, MAIN, load, vectors, _vocabulary(queries[0]), lacking, inputs)


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
    retriever, start = _retriever(model, fusion, video), ComposedRetriever.load(model.ckpt.path)
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


def _vocabulary(queries: Queries) -> Vocabulary:
    """The words of every wording."""
    return Vocabulary.of(text for wordings in queries.triplets["modifications"].to_pylist() for text in wordings)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
