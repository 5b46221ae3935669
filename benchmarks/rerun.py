"""`jobs/embed.py` with everything done / its first run, as commands, over many rows.

    python benchmarks/rerun.py [--rows 10000] [--rounds 1] [--out out/bench]

A round runs the command on a new storage root, then twice more: as it is (`rerun`: the step's record says done), and
with that record removed (`rerun_by_rows`: every row is looked up among the finished, as after a new clip). Rows are
copies of a few clips by reference. Seconds are those that the user waits, imports included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from embed_stages import FILES, make_files
from pairs import Timing, TreeCpu, report

from covr import tables
from covr.config.compose import build, compose
from covr.models import AIM, save_video
from covr.storage import Place, TableStore

REPO = Path(__file__).parents[1]
POLL_S = 0.2


def make_root(root: Place, num_rows: int) -> None:
    """What ingest and pretrain leave: a clips table and an encoder."""
    uris = make_files(root, "small")
    digests = {uri: (root / uri).sha256() for uri in uris}
    clips = [
        {"clip_id": f"clip{n:06d}", "uri": uris[n % FILES], "kind": "video", "sha256": digests[uris[n % FILES]]}
        for n in range(num_rows)
    ]
    TableStore(root / "tables/clips", "clips").publish(tables.from_rows("clips", clips), f"{num_rows:0<32}")
    torch.manual_seed(0)
    save_video(AIM(build(compose(["model=tf-covr-base-tiny"]).model.video)).eval(), root / "pretrain/model")


def embed(root: Place, num_rows: int) -> Timing:
    """The command, its CPU seconds polled."""
    start, cpu = time.perf_counter(), TreeCpu()
    with subprocess.Popen([sys.executable, "jobs/embed.py", f"out={root}"], cwd=REPO) as command:
        while command.poll() is None:
            time.sleep(POLL_S)
            cpu.seconds()
    if command.returncode:
        raise SystemExit(f"jobs/embed.py ended with status {command.returncode}")
    return Timing(amount=num_rows, wall_s=time.perf_counter() - start, cpu_s=cpu.seconds())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    options = parser.parse_args()
    again, by_rows = [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            root = Place(folder)
            make_root(root, options.rows)
            first = embed(root, options.rows)
            again.append((first, embed(root, options.rows)))
            (root / "steps/embed.json").remove()
            by_rows.append((first, embed(root, options.rows)))
    # The first run stands in front, so that the ratio of speeds is the share of its time that a run again takes.
    report("rerun", again, options.out, unit="rows", rows=options.rows)
    report("rerun_by_rows", by_rows, options.out, unit="rows", rows=options.rows)


if __name__ == "__main__":
    main()
