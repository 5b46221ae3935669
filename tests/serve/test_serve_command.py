"""`python -m serve` as a process: up, answering, and gone without a trace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_root import TEXT

from covr.client import Client


def descendants(pid: int) -> set[int]:
    """All processes below `pid`."""
    below: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            below |= {child} | descendants(child)
    return below


@pytest.mark.drill
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.ci_slice), signal.SIGTERM], ids=["sigint", "sigterm"]
)
def test_it_comes_up_answers_and_leaves_no_process(served, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", f"out={served.root}", "serve.port=0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # a Ctrl-C is ours to send
    )
    assert process.stdout is not None
    try:
        shown = ""
        while "covr query" not in shown and process.poll() is None:
            shown += process.stdout.readline()
        address = re.search(r"answers at (\S+) ", shown)
        assert address is not None, shown
        with Client(address[1]) as client:
            assert len(client.search(clip_id="a", text=TEXT, k=3).results) == 3
        started = descendants(process.pid)
        assert started
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(60) == 0, rest
        assert "Error" not in rest
        deadline = time.monotonic() + 10  # Ray's own processes end a moment after their parent
        while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in started):
            time.sleep(0.1)
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    finally:
        process.kill()  # its Ray ends with it


def test_nothing_indexed_is_one_clear_line(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "serve", f"out={tmp_path}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.strip().endswith("run jobs/index.py first")


@pytest.mark.drill
def test_a_proxy_that_is_not_ready_in_time_is_one_clear_line(served):
    ended = subprocess.run(
        [sys.executable, "-m", "serve", f"out={served.root}", "serve.port=0"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "0.001"},
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "proxy was not ready in time" in ended.stderr.strip().splitlines()[-1]
