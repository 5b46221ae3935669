"""The embed step: every clip under the encoders of the stage-1 model."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from omegaconf import DictConfig

from covr.clips.decode import version
from covr.cluster.memory import spilled_bytes
from covr.cluster.session import connect
from covr.config.compose import build
from covr.embed.features import FEATURES, Features
from covr.embed.pipeline import keep, stream, todo
from covr.embed.plan import Accelerator
from covr.embed.quarantine import Quarantine
from covr.embed.shard import of_shard
from covr.embed.stored import read_stored
from covr.errors import UserError
from covr.job import Job
from covr.models.encoders import load_encoders
from covr.models.sides import Encoder
from covr.models.video.stored import Stored
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.tracking import RunLogger
from covr.tracking.download import local_place

COUNTS = ("rows", "computed", "reused", "quarantined", "spilled_mb")
_PART_BYTES = 8 << 20


def embed(job: Job) -> dict[str, Any]:
    """Compute the features that clips lack under the model at `pretrain/model`; write features/<fingerprint>/.

    A video encoder is one; a joint model has one a side, or one for both where they read the same. With
    `index.retriever` they are that retriever's. With `machine.num_shards` it does the clips of one shard; shards may
    run side by side, each with its own Ray, on one storage root.

    Returns:
        {rows, computed, reused, quarantined, spilled_mb, seconds, encoder, place, fingerprint}: `rows` clips have their
        features now, `computed` of them since this call, while the cluster spilled so much; of several encoders the
        sums, `encoder` and `place` joined by spaces.

    Raises:
        UserError: a step before is missing, the plan does not fit, or more than `max_bad_fraction` is refused.
    """
    clips = TableStore(job.root / "tables/clips", "clips")
    elsewhere = job.cfg.index.retriever
    model = job.root / "pretrain/model" if elsewhere is None else local_place(elsewhere)
    if elsewhere is None and not model.exists():
        raise UserError("there is no stage-1 encoder", str(model), "run jobs/pretrain.py first")
    made = load_encoders(model)
    encoders = [encoder.fingerprint() for encoder in made]
    machine = job.cfg.machine
    fresh: list[dict] = []

    def work(run: RunLogger) -> dict[str, Any]:
        if isinstance(made[0], Stored):
            if machine.num_shards > 1:
                raise UserError("vectors made elsewhere are read at once", "machine.num_shards", "leave it out")
            files = build(job.cfg.model.video).files
            result = read_stored(job.root, made[0], files, machine.max_bad_fraction, "frames" in machine.features)
        else:
            result = embed_clips(job.root, model, machine, job.cfg.trainer.accelerator)
        run.log_metrics({name: result[name] for name in COUNTS if name in result} | {"seconds": result["seconds"]})
        if result.get("spilled_mb"):
            say(f"[yellow]  {result['spilled_mb']} MB went to disk: lower machine.batch_clips or add memory[/yellow]")
        fresh.append(result)
        return result

    clips.require(["clip_id"], made_by="ingest")
    result = job.step(
        "embed" if machine.num_shards == 1 else f"embed/shard-{machine.shard_id}-of-{machine.num_shards}",
        settings={"decoder": version(machine.decoder), "features": list(machine.features)},
        inputs={"clips": clips.content_fingerprint(), "encoder": " ".join(encoders)},
        outputs=[Features(job.root, encoder).place for encoder in encoders],
        work=work,
    )
    return result if fresh else {**result, "computed": 0, "reused": result["rows"], "seconds": 0.0}


def embed_clips(root: Place, model: Place, machine: DictConfig, accelerator: Accelerator = "auto") -> dict[str, Any]:
    """`embed` without its step: all of tables/clips, or of one shard, under the model at `model`."""
    if unknown := set(machine.features) - set(FEATURES):
        raise UserError(f"no feature {unknown.pop()!r}", "machine.features", f"choose of {', '.join(FEATURES)}")
    clips = of_shard(TableStore(root / "tables/clips", "clips").require(made_by="ingest"), machine)
    made = [
        _embed(root, clips, encoder, functools.partial(_load, model, place), machine, accelerator)
        for place, encoder in enumerate(load_encoders(model))
    ]
    counts = {name: sum(one[name] for one in made) for name in COUNTS}
    return {
        **counts,
        "seconds": round(sum(one["seconds"] for one in made), 3),
        "encoder": " ".join(one["encoder"] for one in made),
        "place": " ".join(one["place"] for one in made),
    }


def _load(model: Place, place: int) -> Encoder:
    return load_encoders(model)[place]


def _embed(
    root: Place,
    clips: pa.Table,
    encoder: Encoder,
    load: Callable[[], Encoder],
    machine: DictConfig,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """All of `clips` under one encoder."""
    start = time.monotonic()
    features, quarantine = Features(root, encoder.fingerprint()), Quarantine(root, "embed")
    features.describe(encoder.sampling, version(machine.decoder))
    total = len(set(clips["clip_id"].to_pylist()))
    asked = [name for name in encoder.writes if name in machine.features] or encoder.writes
    done = {str(feature): features.done(feature) for feature in asked}
    rows, reasons = todo(clips, features.keys(clips), done, quarantine)
    refused_before = reasons.total()
    spilled = 0
    if len(rows):
        connect(machine)
        spilled = spilled_bytes()
    blocks = stream(
        rows,
        root,
        sampling=encoder.sampling,
        resize=encoder.resize,
        load=load,
        machine=machine,
        block_clips=machine.batch_clips,
        accelerator=accelerator,
    )
    keep(
        blocks,
        features.write,
        quarantine,
        reasons=reasons,
        label="embed",
        total=total,
        remaining=len(rows),
        max_bad_fraction=machine.max_bad_fraction,
        part_bytes=_PART_BYTES,
    )
    refused_now = reasons.total() - refused_before
    return {
        "rows": total - reasons.total(),
        "computed": len(rows) - refused_now,
        "reused": total - len(rows) - refused_before,
        "quarantined": reasons.total(),
        "spilled_mb": (spilled_bytes() - spilled) >> 20 if len(rows) else 0,
        "seconds": time.monotonic() - start,
        "encoder": features.encoder,
        "place": str(features.place),
    }
