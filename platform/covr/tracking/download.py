"""A model by any of its names: a folder, an object store, an MLflow run's artifact, the registry."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from covr.errors import UserError
from covr.storage import Place

ARTIFACT = "retriever"
"""Folder of a run's artifacts that holds the registered retriever."""

_RUN = re.compile(r"runs:/(?P<run>\w+)/(?P<path>[\w./-]+)")
_MODEL = re.compile(r"models:/(?P<name>[\w.-]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")


def local_place(uri: str) -> Place:
    """The place of a model's files.

    Args:
        uri: a folder, `s3://...`, `gs://...`, `runs:/ID/PATH`, `models:/NAME@ALIAS` or `models:/NAME/VERSION`. The
            last three are asked of the server that MLFLOW_TRACKING_URI names, and kept in the user's cache folder.

    Raises:
        UserError: the URI is not understood, or the server does not have it.
    """
    if not uri.startswith(("runs:/", "models:/")):
        return Place(uri)
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if not server:
        raise UserError("no tracking server to ask", uri, "set MLFLOW_TRACKING_URI")
    return Place(_downloaded(uri, server))


def _downloaded(uri: str, server: str) -> Path:
    from covr.tracking.server import MlflowClient, MlflowException  # after its settings of MLflow's patience

    client = MlflowClient(server)
    try:
        run, path = _artifact(uri, client)
        key = hashlib.sha256(f"{server} {run} {path}".encode()).hexdigest()[:32]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covr" / "models"
        if not (cache / key).exists():
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                _replace(Path(client.download_artifacts(run, path, temporary)), cache / key)
    except MlflowException as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise UserError(
            f"the tracking server does not give it ({reason})", f"{uri} at {server}", "check both"
        ) from None
    return cache / key


def _artifact(uri: str, client) -> tuple[str, str]:
    """Run id and artifact path."""
    if match := _RUN.fullmatch(uri):
        return match["run"], match["path"]
    if match := _MODEL.fullmatch(uri):
        name, alias, version = match["name"], match["alias"], match["version"]
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
        return found.run_id, ARTIFACT
    raise UserError("not a model URI", uri, "give runs:/ID/PATH, models:/NAME@ALIAS or models:/NAME/VERSION")


def _replace(folder: Path, final: Path) -> None:
    try:
        folder.rename(final)
    except OSError:  # another process was first
        if not final.exists():
            raise
        shutil.rmtree(folder)
