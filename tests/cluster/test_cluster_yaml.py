"""cluster.yaml, and the one for machines that one has, are what `ray up` takes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

REPO = Path(__file__).parents[2]
FILES = ("cluster.yaml", "platform/deploy/cluster-onprem.yaml")


@pytest.fixture(params=FILES)
def config(request):
    return yaml.safe_load((REPO / request.param).read_text())


def test_it_follows_rays_own_schema(config):
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)


def test_the_cluster_asks_for_tokens_and_opens_no_dashboard(config):
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert all("PATH=$PWD/.venv/bin" in command for command in starts)  # a job's `python` is the environment's
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_every_machine_is_set_up_from_the_lock(config):
    kinds = config.get("available_node_types", {}).values()
    own = [kind["worker_setup_commands"] for kind in kinds if "worker_setup_commands" in kind]
    shared = [config.get(name, []) for name in ("head_setup_commands", "worker_setup_commands")]
    for commands in [*own, *shared] if kinds else [config["setup_commands"]]:
        assert any("make install" in command for command in commands)
        assert any('".[cloud]"' in command for command in commands)


def test_spot_machines_have_a_fallback_of_the_same_size():
    kinds = yaml.safe_load((REPO / "cluster.yaml").read_text())["available_node_types"]
    spot = {name: kind for name, kind in kinds.items() if "InstanceMarketOptions" in kind["node_config"]}
    for name, kind in spot.items():
        others = [
            other for other in kinds.items() if other[0] not in spot and other[1]["resources"] == kind["resources"]
        ]
        assert others
        # Of two kinds that suit alike, Ray's autoscaler takes the one whose name sorts last.
        assert all(name > other for other, _ in others)
    assert sum(kind["max_workers"] for kind in kinds.values()) >= 12
