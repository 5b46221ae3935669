"""The model registry: every evaluated retriever a version, and the one that the endpoint serves called `champion`.

Models are stored as plain artifacts (safetensors and JSON). MLflow's pickle flavours are not used: loading one runs
code from the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from covr.report.console import say
from covr.storage import Place
from covr.storage.place import fingerprint
from covr.tracking.download import ARTIFACT

CHAMPION = "champion"


def files(place: Place) -> list[str]:
    """Paths of all files under a folder, relative to it, sorted."""
    found = place.fs.find(place.path)
    return sorted(path[len(place.path) :].lstrip("/") for path in found)


def digest(place: Place) -> str:
    """A hash of the names and bytes of a folder's files."""
    return fingerprint([(name, (place / name).sha256()) for name in files(place)])


def register(client: MlflowClient, run_id: str, root: Place, record: dict[str, Any]) -> None:
    """Upload the folder that a journal's `model` record names and make it a version of a registered model.

    The record: {"model": place, "digest": hash of it when logged, "name": registered name, "metric": primary metric,
    "value": its value, "gallery": fingerprint of the gallery it was measured on}. A version made by an earlier
    attempt is found by its digest and run, and used.
    """
    place, name = root.resolve(record["model"]), record["name"]
    if digest(place) != record["digest"]:
        say(f"[yellow]{place} changed before the tracking server had it; not registered[/yellow]")
        return
    if _registered(client, name) is None:
        client.create_registered_model(name)
    mine = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    made = next((v for v in mine if v.tags.get("digest") == record["digest"]), None)
    if made is None:
        with tempfile.TemporaryDirectory() as temporary:
            for file in files(place):
                path = Path(temporary) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                place.fs.get_file((place / file).path, str(path))
            client.log_artifacts(run_id, temporary, ARTIFACT)
        source = f"{client.get_run(run_id).info.artifact_uri}/{ARTIFACT}"
        tags = {key: str(record[key]) for key in ("digest", "metric", "value", "gallery")}
        made = client.create_model_version(name, source, run_id, tags=tags)
    if _better(client, name, record):
        client.set_registered_model_alias(name, CHAMPION, made.version)


def _better(client: MlflowClient, name: str, record: dict[str, Any]) -> bool:
    """Whether a new version takes the alias: nobody holds it, or it wins by the same metric on the same gallery."""
    try:
        champion = client.get_model_version_by_alias(name, CHAMPION).tags
    except MlflowException:
        return True
    if (champion.get("gallery"), champion.get("metric")) != (record["gallery"], record["metric"]):
        say(f"{name}@{CHAMPION} stays: it was measured on another gallery")
        return False
    return record["value"] > float(champion["value"])


def _registered(client: MlflowClient, name: str) -> object | None:
    return next(iter(client.search_registered_models(f"name = '{name}'")), None)
