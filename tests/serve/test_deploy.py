"""`serve deploy` of the file that the project ships, on a cluster of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from small_root import TEXT

from covr.client import Client

_CLUSTER = """
import ray, sys
port = int(sys.argv[1])
quiet = dict(object_store_memory=200 << 20, log_to_driver=False)
ray.init(address="local", num_cpus=4, include_dashboard=True, dashboard_port=port, **quiet)
print("up", flush=True)
sys.stdin.read()
"""


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.mark.drill
@pytest.mark.ci_slice
def test_the_file_is_deployed_and_changed_while_it_serves(served, tmp_path):
    dashboard, port = free_ports(2)
    config = yaml.safe_load(Path("serve/config.yaml").read_text())
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["args"] |= {"root": str(served.root), "topology": "separate", "shards": 2, "max_encoders": 2}
    file = tmp_path / "config.yaml"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    cluster = subprocess.Popen(
        [sys.executable, "-c", _CLUSTER, str(dashboard)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert cluster.stdout is not None
        assert cluster.stdout.readline() == "up\n"
        address = f"http://127.0.0.1:{dashboard}"

        def deploy() -> dict:
            file.write_text(yaml.safe_dump(config))
            command = [str(Path(sys.executable).with_name("serve")), "deploy", "--address", address, str(file)]
            subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                said = httpx.get(f"{address}/api/serve/applications/", timeout=30).json()["applications"]["covr"]
                assert said["status"] != "DEPLOY_FAILED", json.dumps(said)
                if said["status"] == "RUNNING":
                    return said
                time.sleep(0.3)
            raise AssertionError(said)

        said = deploy()
        assert set(said["deployments"]) == {"Gateway", "Encoding", "Shard-0", "Shard-1", "Writer"}
        scaling = said["deployments"]["Encoding"]["deployment_config"]["autoscaling_config"]
        assert (scaling["min_replicas"], scaling["max_replicas"]) == (1, 2)
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.ready().index == served.snapshot.fingerprint
            before = client.search(clip_id="a", text=TEXT)
            application["args"] |= {"topology": "colocated", "shards": 1, "max_encoders": 1}
            assert set(deploy()["deployments"]) == {"Gateway", "Retrieval"}
            after = client.search(clip_id="a", text=TEXT)
            assert [r.clip_id for r in after.results] == [r.clip_id for r in before.results]
    finally:
        assert cluster.stdin is not None
        cluster.stdin.close()
        cluster.wait(60)
