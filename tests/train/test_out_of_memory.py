"""Ray's memory monitor ends the training: it was a traceback of twenty lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROGRAM = """
import sys
from dataclasses import replace

import ray
import tiny_triplets
from test_fit import ONE_WORKER, Outcome

from covr.errors import UserError
from covr.storage import Place

ray.init(address="local", num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
root = Place(sys.argv[1])
tiny_triplets.build(root)
try:
    Outcome(root, "killed", replace(ONE_WORKER, max_failures=0))
except UserError as error:
    print(error)
"""


@pytest.mark.drill
def test_a_machine_out_of_memory_is_one_line(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "train"), os.environ.get("PYTHONPATH", "")]),
        "RAY_memory_usage_threshold": "0.01",  # always over it
        "RAY_memory_monitor_refresh_ms": "100",
    }
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert "the machine ran out of memory" in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr
