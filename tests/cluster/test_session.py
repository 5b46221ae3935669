"""What Ray would answer late and at length is said at once in a line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import ray

from covr.cluster.session import connect, shutdown
from covr.config.compose import compose

REPO = Path(__file__).parents[2]


def ingest(out: Path, option: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "jobs/ingest.py", "data.size=tiny", f"out={out}", option],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


def test_more_cpus_than_the_machine_has_are_refused_by_the_job(tmp_path):
    run = ingest(tmp_path, "machine.num_cpus=4096")
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1].startswith("error: machine.num_cpus=4096 but this machine has")
    assert "Traceback" not in run.stderr


def test_an_address_where_nothing_listens_is_one_line(tmp_path):
    run = ingest(tmp_path, "machine.address=127.0.0.1:9")
    assert run.returncode == 2
    assert "no Ray cluster answers" in run.stderr
    assert "Traceback" not in run.stderr


@ray.remote(num_cpus=0.1)
def standard_platform() -> tuple[str, str]:
    import platform
    import uuid

    return platform.system(), str(uuid.uuid4().version)


def test_a_cluster_that_was_started_beside_is_not_joined(tmp_path):
    """Ray joins what `ray start` noted on this machine, also where nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: Ray's socket paths may have 107 characters
        noted = Path(folder, "ray", "ray_current_cluster")
        noted.parent.mkdir()
        noted.write_text("127.0.0.1:9")
        run = ingest(tmp_path / "out", "machine.num_cpus=1", RAY_TMPDIR=folder)
    assert run.returncode == 0, run.stderr


def test_the_folder_platform_does_not_shadow_the_standard_module(ray_cluster):
    """A folder `platform` at the root with an __init__.py would break ray, torch and pytest at import."""
    assert not (REPO / "platform" / "__init__.py").exists()
    run = subprocess.run(
        [sys.executable, "-c", "import platform, uuid; print(platform.system())"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == platform.system()
    assert ray.get(standard_platform.remote())[0] == platform.system()


def test_a_cluster_that_was_there_goes_on(ray_cluster):
    """A job within a process that has Ray, as a notebook's, once ended the notebook's cluster."""
    before = ray.get_runtime_context().gcs_address
    connect(compose([]).machine)
    shutdown()
    assert ray.get_runtime_context().gcs_address == before
