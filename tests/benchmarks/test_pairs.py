"""The harness of the benchmarks, on made-up timings."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pairs import Timing, TreeCpu, interleave, ratio_of, report


def test_every_other_pair_runs_in_the_other_order():
    order: list[str] = []

    def run(name: str, wall_s: float) -> Timing:
        order.append(name)
        return Timing(amount=10, wall_s=wall_s, cpu_s=1.0)

    pairs = interleave(lambda: run("a", 2.0), lambda: run("b", 1.0), 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert all(a.wall_s == 2.0 and b.wall_s == 1.0 for a, b in pairs)


def test_the_interval_holds_the_median_and_narrows_with_agreement():
    wide, narrow = ratio_of([0.5, 0.9, 1.0, 1.1, 1.5]), ratio_of([0.98, 0.99, 1.0, 1.01, 1.02])
    assert wide.median == narrow.median == 1.0
    assert 0.5 <= wide.low <= narrow.low <= 1.0 <= narrow.high <= wide.high <= 1.5


def test_a_report_says_speed_cost_and_machine(tmp_path, capsys):
    slow, fast = Timing(amount=10, wall_s=2.0, cpu_s=3.0), Timing(amount=10, wall_s=1.0, cpu_s=2.0)
    report("half", [(slow, fast)] * 3, tmp_path, unit="steps")
    written = json.loads((tmp_path / "half.json").read_text())
    assert written["ratios"]["speed"] == {"median": 0.5, "low": 0.5, "high": 0.5}
    assert written["ratios"]["cpu"]["median"] == pytest.approx(1.5)
    assert written["unit"] == "steps"
    assert written["machine"]["cpus"] >= 1
    assert "half: speed 0.500 [0.500, 0.500]" in capsys.readouterr().out


def test_cpu_seconds_of_a_tree_keep_those_of_a_process_that_ended():
    cpu = TreeCpu()
    burn = "import time\nwhile time.process_time() < 0.6: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        seen = cpu.seconds()
        child.communicate(b"\n")
    assert 0.5 <= seen <= cpu.seconds() < seen + 0.4
