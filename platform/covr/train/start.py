"""What takes the place of stage 1 for a joint model: its published weights, as they are."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import OmegaConf

from covr.job import Job
from covr.models.joint.store import build_joint
from covr.storage import Place
from covr.tracking import RunLogger


def start_joint(job: Job) -> dict[str, Any]:
    """Put the joint model that `model` describes at `pretrain/model/`, where embed and finetune look for it.

    Returns:
        {parameters, fingerprint}.

    Raises:
        UserError: no weights given, or weights that do not fit.
    """
    model, out = job.cfg.model, job.root / "pretrain" / "model"
    files = {} if model.init == "scratch" else {name: path for name, path in model.ckpt.items() if path is not None}
    torch.manual_seed(job.cfg.seed)
    retriever = build_joint(model)  # first of all: absent weights are told before any work

    def work(run: RunLogger) -> dict[str, Any]:
        retriever.save(out)
        return {"parameters": sum(parameter.numel() for parameter in retriever.parameters())}

    return job.step(
        "pretrain",
        settings={
            "seed": job.cfg.seed,
            "layout": model.layout,
            "init": model.init,
            "fresh": list(model.fresh),
            "joint": OmegaConf.to_container(model.joint, resolve=True),
        },
        inputs={name: Place(path).sha256() for name, path in files.items()},
        outputs=[out / "config.json"],
        work=work,
    )
