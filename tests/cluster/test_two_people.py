"""Two people on one cluster: pipelines side by side, endpoints side by side; stopping one leaves the other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from ray_nodes import free_port
from team_cluster import Team, check_equal, check_tracked, finish, running, wait_for

from covr.storage import Place, TableStore

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]


def test_two_pipelines_side_by_side(calm, team):
    """One is stopped in the middle, the other does not notice; submitted again, it too gives what a calm run gives."""
    outs = [f"{team.store.root}/{person}" for person in ("ann", "bob")]
    ann, bob = (team.submit("pipeline", out, "machine.decode_workers=1") for out in outs)
    wait_for(lambda: running(Place(outs[1]), "embed"), bob)
    assert ann.poll() is None
    listed = json.loads(team.nodes.covr("jobs", "list", "--json").stdout)
    (found,) = [job["submission_id"] for job in listed if f"out={outs[1]}" in job["entrypoint"]]
    assert team.nodes.covr("jobs", "stop", found).stdout.strip() == "stopping"
    bob.communicate(timeout=120)
    assert bob.returncode != 0
    finish(ann)
    finish(team.submit("pipeline", outs[1], "machine.decode_workers=1"))
    for out in outs:
        check_equal(Place(out), calm)
        check_tracked(team, Place(out))


class Endpoint:
    """`python -m serve` on the team's cluster; `url` once it has answered a query of its own."""

    def __init__(self, team: Team, root: Place, name: str, port: int) -> None:
        words = [f"out={root}", f"machine.address=127.0.0.1:{team.nodes.port}"]
        words += [f"serve.name={name}", f"serve.route_prefix=/{name}", f"serve.port={port}"]
        if not root.is_local:
            words.append(f"trainer.logger.uri={team.tracking.uri}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serve", *words],
            env={**team.nodes.env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said, self.url = "", ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"answers at (\S+)", line):
                self.url = found[1]
                break
        assert self.url, self.said

    def search(self, query: dict[str, str]) -> list[str]:
        answer = httpx.post(f"{self.url}/v1/search", json={**query, "k": 3}, timeout=60)
        return [result["clip_id"] for result in answer.raise_for_status().json()["results"]]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        printed, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, printed[-3000:]


def test_two_endpoints_side_by_side(calm, team, whole):
    """Bob's answers beside Ann's and goes on when hers, which was the first, is stopped; with his all are gone."""
    triplets = TableStore(calm / "tables" / "triplets", "triplets").read().to_pylist()
    asked = next(row for row in triplets if row["split"] == "test")
    query = {"clip_id": asked["query_clip"], "text": asked["modifications"][0]}
    port = free_port()
    ann = Endpoint(team, whole[0], "ann", port)
    bob = Endpoint(team, calm, "bob", port)
    assert (ann.url, bob.url) == (f"http://127.0.0.1:{port}/ann", f"http://127.0.0.1:{port}/bob")
    assert len(ann.search(query)) == 3
    assert ann.search(query) == bob.search(query)  # of the same weights, from S3 and from a disk
    ann.stop()
    assert httpx.get(f"{ann.url}/readyz").status_code == 404
    assert len(bob.search(query)) == 3
    bob.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{bob.url}/readyz")
    assert not [each for each in team.actors("Serve") if each["state"] == "ALIVE"]
