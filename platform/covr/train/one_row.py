"""One row of stage 2 as a step: its loss, its recipe, its workers, and what decides whether it is to be trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from covr.cluster.session import connect
from covr.config.compose import build
from covr.errors import UserError
from covr.job import Job
from covr.losses import WeightedTargets
from covr.models import ComposedRetriever
from covr.models.folder import RERANK
from covr.models.text.words import Vocabulary
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
from covr.train.workers import Workers

DECISIVE = (
    *("text", "fusion", "joint", "center", "query_video", "query_frames", "head", "expand"),
    *("loss", "loss_terms", "optimizer", "scheduler", "finetune", "rerank", "skip"),
)
"""The parts of `model` that a trained row depends on, beside its starting weights."""
TARGET_FILES = ("captions", "multimodal")
"""Names below `model.loss_terms` that are no weights."""
LACKING = {"text-only": "fusion", "video-only": "text"}
"""What a row has no weights of."""


def train_row(
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
    terms = loss_terms(model)
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
        **{part: plain(model[part]) for part in DECISIVE if part in model},
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
            ComposedRetriever.load(row_or_place(job, model.rerank.retriever)).save(out / RERANK)
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
                lr_scale=lr_scale(model, row),
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


def loss_terms(model: DictConfig) -> dict[str, float]:
    """Weights of the targets that the rows are trained against, those of weight 0 left out."""
    terms = {name: weight for name, weight in plain(model.loss_terms).items() if weight and name not in TARGET_FILES}
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


def lr_scale(model: DictConfig, row: str) -> dict[str, float]:
    """The rates of the parts that a row has."""
    scales = dict(model.optimizer.lr_scale or {})
    return {name: scale for name, scale in scales.items() if name.split(".")[0] != LACKING.get(row)}


def row_or_place(job: Job, path: str | None) -> Any:
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


def plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
