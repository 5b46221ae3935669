"""Stage 1 as a job: the video encoder learns the action classes of the train split."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from omegaconf import DictConfig, OmegaConf

from covr.clips.decode import version
from covr.cluster.session import connect
from covr.embed.frames import build_frame_cache
from covr.errors import UserError
from covr.job import Job
from covr.models import VideoEncoder, build_video, save_video
from covr.models.video.stored import Stored
from covr.report.console import say
from covr.storage import TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger
from covr.train.actions import ActionSettings, ActionTask
from covr.train.augment import Augment, Flip
from covr.train.clipframes import CachedFrames, DecodedFrames, Frames
from covr.train.fit import fit
from covr.train.recipe import Recipe
from covr.train.start import start_joint
from covr.train.workers import Workers, stream_cpus


def pretrain(job: Job) -> dict[str, Any]:
    """Train `model.video` on the labels of the clips table and save it as `pretrain/model/`; with model/video=stored
    only record it there.

    Beside it: `classes.json` (the labels, in the order of the classes) and `confusion.json` (test split).

    Returns:
        {top1, top5, attributes} on {split} (test, or val where there is no test), {encoder} (fingerprint),
        {rows_per_s, steps, best, fingerprint}.

    A joint model has no stage 1 (see `start_joint`), unless it is built on a video encoder; with
    `model.skip=[pretrain]` the encoder stays as it starts.

    Raises:
        UserError: ingest was not run, the clips have no labels, or the loss diverged.
    """
    if "joint" in job.cfg.model and "video" not in job.cfg.model:
        return start_joint(job)
    model, out = job.cfg.model, job.root / "pretrain"
    torch.manual_seed(job.cfg.seed)  # as each worker does, so that random parts, if any, are those that are trained
    encoder = build_video(model)  # first of all: absent weights are told before any work
    if isinstance(encoder, Stored):
        return _record(job, encoder)
    table = TableStore(job.root / "tables" / "clips", "clips")
    clips = table.require(made_by="ingest")
    settings = {
        "seed": job.cfg.seed,
        "precision": job.cfg.trainer.precision,
        "gradcache_rows": job.cfg.trainer.gradcache_rows,
        "decoder": version(job.cfg.machine.decoder),
        "init": model.init,
        **{part: OmegaConf.to_container(model[part], resolve=True) for part in ("video", "pretrain")},
    }
    if "pretrain" in model.get("skip", ()):
        settings["skip"] = True
    inputs = {"clips": table.content_fingerprint()}
    if model.init != "scratch":
        inputs["start"] = encoder.fingerprint()

    def work(run: RunLogger) -> dict[str, Any]:
        if "pretrain" in model.get("skip", ()):
            (out / "confusion.json").remove()
            save_video(encoder, out / "model")
            return {"encoder": encoder.fingerprint()}
        if not clips["label"].drop_null():
            return _as_it_is(job, encoder)
        cluster = connect(job.cfg.machine)
        workers = Workers.from_config(job.cfg.trainer, cluster, data_cpus=stream_cpus(job.cfg, cluster))
        frames, usable = _frames(job, clips, encoder)
        make_task = partial(
            ActionTask,
            model=model,
            settings=_settings(model.pretrain),
            clips=usable,
            frames=frames,
            out=out,
            logger=run,
        )
        recipe = Recipe(
            **{name: model.pretrain[name] for name in ("max_epochs", "batch_size", "lr", "weight_decay", "warmup")},
            **{name: model.pretrain[name] for name in ("clip_grad", "decay", "ema")},
            lr_scale=dict(model.pretrain.lr_scale or {}),
            seed=job.cfg.seed,
        )
        name = fingerprint(settings, inputs)[:16]
        found = fit(make_task, recipe=recipe, workers=workers, logger=run, checkpoints=out / "checkpoints", name=name)
        return {**found, "devices": workers.devices}

    return job.step("pretrain", settings=settings, inputs=inputs, outputs=[out / "model" / "config.json"], work=work)


def _record(job: Job, encoder: Stored) -> dict[str, Any]:
    """Vectors made elsewhere take stage 1's place; there is nothing to train."""
    model = job.root / "pretrain" / "model"

    def work(run: RunLogger) -> dict[str, Any]:
        save_video(encoder, model)
        return {"encoder": encoder.fingerprint()}

    return job.step(
        "pretrain",
        settings=job.cfg.model.video,
        inputs={"vectors": encoder.config.contents},
        outputs=[model / "config.json"],
        work=work,
    )


def _as_it_is(job: Job, encoder: VideoEncoder) -> dict[str, Any]:
    """Clips without labels teach stage 1 nothing: their triplets are trained on the encoder that it starts from.

    Raises:
        UserError: there are no triplets either, or the encoder is random.
    """
    if not len(TableStore(job.root / "tables/triplets", "triplets").read(["query_id"])):
        raise UserError(
            "the clips have neither labels nor triplets, so nothing can be trained",
            str(job.root / "tables"),
            "add labels.csv or triplets.csv, or search them with a trained retriever: index.retriever=FOLDER",
        )
    if job.cfg.model.init == "scratch":
        raise UserError("clips without labels cannot train an encoder", "model.init=scratch", "use backbone")
    say("  the clips have no labels: the video encoder stays as it is")
    (job.root / "pretrain" / "confusion.json").remove()  # of other data, if there is one
    save_video(encoder, job.root / "pretrain" / "model")
    return {"encoder": encoder.fingerprint()}


def _settings(pretrain: DictConfig) -> ActionSettings:
    flip = pretrain.augment.flip
    return ActionSettings(
        label_smoothing=pretrain.label_smoothing,
        attribute_weight=pretrain.attribute_weight,
        attribute_smoothing=pretrain.attribute_smoothing,
        dropout=pretrain.dropout,
        freeze=pretrain.freeze,
        augment=Augment(
            shift=pretrain.augment.shift,
            gain=pretrain.augment.gain,
            flip=flip and Flip(attribute=flip.attribute, swap=tuple(flip.swap)),
        ),
    )


def _frames(job: Job, clips: pa.Table, encoder: VideoEncoder) -> tuple[Frames, pa.Table]:
    """Where the frames come from, and the clips that have some."""
    machine = job.cfg.machine
    if job.cfg.model.pretrain.cache_frames == 0:
        rows = clips.select(["clip_id", "uri", "start_s", "end_s"]).to_pylist()
        files = {row["clip_id"]: (str(job.root.resolve(row["uri"])), row["start_s"], row["end_s"]) for row in rows}
        return DecodedFrames(files=files, decoder=machine.decoder, resize=encoder.resize), clips
    cache = build_frame_cache(job.root, clips, encoder, machine.decoder, machine, job.cfg.model.pretrain.cache_frames)
    return CachedFrames(place=cache.place), clips.filter(pc.is_in(clips["clip_id"], pa.array(cache.clip_ids)))
