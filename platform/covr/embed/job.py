"""The embed step: every clip under the stage-1 encoder."""

from __future__ import annotations

import functools
import time
from typing import Any

from omegaconf import DictConfig

from covr.clips.decode import version
from covr.config.compose import build
from covr.embed.features import FEATURES, Features
from covr.embed.pipeline import keep, stream, todo
from covr.embed.plan import Accelerator
from covr.embed.quarantine import Quarantine
from covr.embed.stored import read_stored
from covr.errors import UserError
from covr.job import Job
from covr.models import load_video
from covr.models.video.stored import Stored
from covr.storage import Place, TableStore
from covr.tracking import RunLogger

_PART_BYTES = 8 << 20


def embed(job: Job) -> dict[str, Any]:
    """Compute the vectors that clips lack under the encoder at `pretrain/model`; write features/<fingerprint>/.

    Returns:
        {rows, computed, reused, quarantined, seconds, encoder, place, fingerprint}: `rows` clips have a vector now,
        `computed` of them since this call.

    Raises:
        UserError: a step before is missing, the plan does not fit, or more than `max_bad_fraction` is refused.
    """
    clips = TableStore(job.root / "tables/clips", "clips")
    model = job.root / "pretrain/model"
    if not model.exists():
        raise UserError("there is no stage-1 encoder", str(model), "run jobs/pretrain.py first")
    video = load_video(model)
    encoder = video.fingerprint()
    machine = job.cfg.machine
    fresh: list[dict] = []

    def work(run: RunLogger) -> dict[str, Any]:
        if isinstance(video, Stored):
            files = build(job.cfg.model.video).files
            result = read_stored(job.root, video, files, machine.max_bad_fraction, "frames" in machine.features)
        else:
            result = embed_clips(job.root, model, machine, job.cfg.trainer.accelerator)
        run.log_metrics({name: result[name] for name in ("rows", "computed", "reused", "quarantined", "seconds")})
        fresh.append(result)
        return result

    clips.require(["clip_id"], made_by="ingest")
    result = job.step(
        "embed",
        settings={"decoder": version(machine.decoder), "features": list(machine.features)},
        inputs={"clips": clips.content_fingerprint(), "encoder": encoder},
        outputs=[Features(job.root, encoder).place],
        work=work,
    )
    return result if fresh else {**result, "computed": 0, "reused": result["rows"], "seconds": 0.0}


def embed_clips(root: Place, model: Place, machine: DictConfig, accelerator: Accelerator = "auto") -> dict[str, Any]:
    """`embed` without its step: all of tables/clips under the encoder at `model`."""
    start = time.monotonic()
    if unknown := set(machine.features) - set(FEATURES):
        raise UserError(f"no feature {unknown.pop()!r}", "machine.features", f"choose of {', '.join(FEATURES)}")
    encoder = load_video(model)
    features, quarantine = Features(root, encoder.fingerprint()), Quarantine(root, "embed")
    features.describe(encoder.sampling, version(machine.decoder))
    clips = TableStore(root / "tables/clips", "clips").require(made_by="ingest")
    total = len(set(clips["clip_id"].to_pylist()))
    done = {feature: features.done(feature) for feature in machine.features}
    rows, reasons = todo(clips, features.keys(clips), done, quarantine)
    refused_before = reasons.total()
    blocks = stream(
        rows,
        root,
        sampling=encoder.sampling,
        resize=encoder.resize,
        load=functools.partial(load_video, model),
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
        "seconds": round(time.monotonic() - start, 3),
        "encoder": encoder.fingerprint(),
        "place": str(features.place),
    }
