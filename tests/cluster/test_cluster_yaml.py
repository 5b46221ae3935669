"""cluster.yaml is what `ray up` takes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import ray
import yaml

REPO = Path(__file__).parents[2]


def test_cluster_yaml_follows_rays_own_schema():
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((REPO / "cluster.yaml").read_text()), schema)


def test_the_cluster_asks_for_tokens_and_opens_no_dashboard():
    text = (REPO / "cluster.yaml").read_text()
    for line in text.splitlines():
        assert "ray start" not in line or "RAY_AUTH_MODE=token" in line
    assert "--dashboard-host=127.0.0.1" in text
