"""All checks in the order in which a newcomer would meet their faults."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from omegaconf import DictConfig

from covr.doctor import machine, packages, services, storage, video
from covr.doctor.finding import Check, Finding, findings


def examine(cfg: DictConfig) -> Iterator[Finding]:
    """Look at everything that a job under this configuration needs; takes about ten seconds, changes nothing."""
    for name, check in _checks(cfg).items():
        yield from findings(name, check)


def _checks(cfg: DictConfig) -> dict[str, Check]:
    return {
        "Python": packages.python,
        "packages": packages.packages,
        "twins": packages.twins,
        "FFmpeg": video.ffmpeg,
        "codecs": video.codecs,
        "decoders": video.decoders,
        "memory": partial(machine.memory, int(cfg.machine.object_store_mb) << 20),
        "disk": partial(machine.disk, cfg.out),
        "storage": partial(storage.storage, cfg.out),
        "GPU": machine.gpu,
        "Ray": partial(services.ray, cfg),
        "MLflow": partial(services.mlflow, cfg),
    }
