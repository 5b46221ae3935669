"""The disk is full while a step writes: one line, nothing half written, and with room again a calm run's outcome."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import calm_run
import pytest
from calm_run import RECORDS, REPO

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which takes root"),
]
WRITES = {
    "ingest": ("media", "tables"),
    "pretrain": ("frames",),
    "embed": ("features",),
    "finetune/composed": ("retrievers",),
    "evaluate": ("runs", "report.html"),
}
"""What of a step's output is large enough to fill a disk with."""


def size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(size(each) for each in path.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of 256 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_disk_full(calm, small_disk):
    out, ballast = small_disk / "out", small_disk / "ballast"
    out.mkdir()
    for step in RECORDS:
        if step in WRITES:
            room = sum(size(calm / name) for name in WRITES[step]) // 3
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - room)
            command = calm_run.command(calm_run.job_of(step), out)
            done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=600)
            assert done.returncode == 2, f"{step}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            line = done.stderr.strip().splitlines()[-1]
            assert line.startswith("error: "), step
            assert "no space left" in line
            assert "Traceback" not in done.stderr, done.stderr
            ballast.unlink()
        calm_run.run(step, out)
    calm_run.assert_same(calm, out)
