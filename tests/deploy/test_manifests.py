"""The manifests under platform/deploy are what KubeRay and Kubernetes take, and agree with the lock and the code."""

from __future__ import annotations

import copy
import gzip
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from covr.cluster.submit import checkout
from covr.config.compose import compose
from serve.settings import Settings

DEPLOY = checkout() / "platform" / "deploy"
KINDS = {"raycluster": "RayCluster", "rayjob": "RayJob", "rayservice": "RayService"}


def strict(schema: Any) -> Any:
    """The same schema, refusing fields that it does not name: a misspelt one would be dropped without a word."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(value) for name, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and "type" in schema and not open_ended:
        found["additionalProperties"] = False
    return found


def schema(name: str) -> dict[str, Any]:
    found = strict(json.loads(gzip.decompress((Path(__file__).parent / "schemas" / f"{name}.v1.json.gz").read_bytes())))
    found["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    return found


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", KINDS)
def test_kuberay_takes_it(name):
    found = manifest(name)
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", KINDS[name])
    jsonschema.validate(found, schema(name))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("raycluster", ["spec", "authOptions", "mode"], "tokens"),
        ("raycluster", ["spec", "headGroupSpec", "rayStartParams", "num-cpus"], 0),
        ("rayjob", ["spec", "backofLimit"], 2),
        ("rayservice", ["spec", "serveConfigV2"], {"applications": []}),
        ("rayservice", ["spec", "rayClusterConfig", "workerGroupSpecs"], {}),
    ],
)
def test_a_mistake_is_found(name, path, value):
    found = copy.deepcopy(manifest(name))
    node = found
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, schema(name))


def test_everything_runs_the_ray_of_the_lock():
    (locked,) = re.findall(r"^ray==([\d.]+)$", (checkout() / "requirements.lock").read_text(), re.M)
    assert manifest("raycluster")["spec"]["rayVersion"] == locked
    assert manifest("rayservice")["spec"]["rayClusterConfig"]["rayVersion"] == locked
    assert f"ARG RAY={locked}-py3" in (DEPLOY / "Dockerfile").read_text()


def test_tokens_are_on_and_no_service_is_public():
    for text in (path.read_text() for path in DEPLOY.glob("*.yaml")):
        for each in yaml.safe_load_all(text):
            assert each.get("spec", {}).get("type") not in ("LoadBalancer", "NodePort")
    assert manifest("raycluster")["spec"]["authOptions"]["mode"] == "token"
    assert manifest("rayservice")["spec"]["rayClusterConfig"]["authOptions"]["mode"] == "token"


def test_the_job_is_one_of_ours_with_options_that_exist():
    _, script, *overrides = manifest("rayjob")["spec"]["entrypoint"].split()
    assert (checkout() / "jobs" / Path(script).name).is_file()
    cfg = compose(overrides)
    groups = manifest("raycluster")["spec"]["workerGroupSpecs"]
    offered = {
        name for group in groups for name in re.findall(r'\\"(\w+)\\"', group["rayStartParams"].get("resources", ""))
    }
    asked = {*cfg.machine.decode_resources, *cfg.machine.encode_resources, *cfg.trainer.resources}
    assert asked == offered


def test_the_endpoint_has_the_applications_own_settings():
    (application,) = yaml.safe_load(manifest("rayservice")["spec"]["serveConfigV2"])["applications"]
    module, _, name = application["import_path"].partition(":")
    assert callable(getattr(import_module(module), name))
    Settings.model_validate(application["args"])


def test_every_secret_that_is_named_is_in_the_example():
    made = {each["metadata"]["name"] for each in yaml.safe_load_all((DEPLOY / "secrets.example.yaml").read_text())}
    text = "".join(path.read_text() for path in DEPLOY.glob("*.yaml"))
    named = set(re.findall(r"secret(?:KeyRef|Ref): \{name: ([\w-]+)", text)) | set(
        re.findall(r"secretName: ([\w-]+)", text)
    )
    assert named == made
