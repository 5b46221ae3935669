"""Tracking under a storage root, as a job makes it."""

from __future__ import annotations

from omegaconf import OmegaConf

from covr.storage import Place
from covr.tracking import Tracking


def tracking_on(root: Place, uri: str | None = None, system_metrics_s: float | None = None) -> Tracking:
    logger = {"uri": uri, "experiment": "covr", "system_metrics_s": system_metrics_s}
    return Tracking.from_config(OmegaConf.create(logger), root)
