"""Tracking under a storage root, as a job makes it."""

from __future__ import annotations

from omegaconf import OmegaConf

from covr.storage import Place
from covr.tracking import Tracking


def tracking_on(root: Place, uri: str | None = None) -> Tracking:
    return Tracking.from_config(OmegaConf.create({"uri": uri, "experiment": "covr"}), root)
