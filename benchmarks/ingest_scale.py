"""Ingest of the largest benchmark's size: 1.6M triplets over 131k clips, in WebVid-CoVR's format, rows generated.

python benchmarks/ingest_scale.py [--triplets 1600000] [--clips 131000]

Runs jobs/ingest.py as users do and gates what comes out: every row in, every row out, peak memory under 4 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc

from covr.storage import Place, TableStore

MAX_GB = 4.0
MAX_MINUTES = 20.0
REPO = Path(__file__).parents[1]
SUBJECTS = ("white lines and dots", "a young woman with a laptop", "waves on a rocky shore", "traffic at night")


def generate(path: Path, num_triplets: int, num_clips: int) -> None:
    """A train CSV whose rows name every clip at least once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scores = ["[" + ", ".join(f"0.{3000 + 7 * k + n}" for k in range(15)) + "]" for n in range(100)]
    with path.open("w") as file:
        file.write("txt1,txt2,sim_txt,pth1,pth2,edit,scores,person-prob\n")
        for row in range(num_triplets):
            query = row % num_clips
            target = (row * 7919 + 1 + row // num_clips) % num_clips
            target = (target + 1) % num_clips if target == query else target
            about = [f'"{SUBJECTS[n % 4]}, number {n}"' for n in (query, target)]
            names = [f"{n % 1000:03d}/10{n:08d}" for n in (query, target)]
            edit = f'"replace it, with {SUBJECTS[target % 4]}, seen from above"'
            file.write(f'{about[0]},{about[1]},0.89,{names[0]},{names[1]},{edit},"{scores[row % 100]}",0.1\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triplets", type=int, default=1_600_000)
    parser.add_argument("--clips", type=int, default=131_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "data", Path(folder) / "out"
        csv = data / "annotation/webvid-covr/webvid2m-covr_train.csv"
        generate(csv, args.triplets, args.clips)
        print(f"{args.triplets} rows, {csv.stat().st_size / 1e6:.0f} MB of CSV", flush=True)
        start = time.monotonic()
        options = ["data=webvid-covr", f"data.root={data}", "data.splits=[train]", "data.media=none", f"out={out}"]
        subprocess.run([sys.executable, "jobs/ingest.py", *options], cwd=REPO, check=True)
        minutes = (time.monotonic() - start) / 60
        gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
        tables = Place(str(out)) / "tables"
        triplets = TableStore(tables / "triplets", "triplets").read(["query_id", "target_weights"])
        clips = TableStore(tables / "clips", "clips").read(["clip_id"])
        scored = pc.list_value_length(triplets["target_weights"])
    found = {
        "triplets": len(triplets),
        "clips": len(clips),
        "scores": pc.sum(scored).as_py(),
        "minutes": round(minutes, 2),
        "peak_gb": round(gigabytes, 2),
    }
    print(json.dumps(found))
    expected = {"triplets": args.triplets, "clips": args.clips, "scores": 15 * args.triplets}
    if any(found[name] != count for name, count in expected.items()):
        raise SystemExit(f"gate: rows were lost, expected {expected}")
    if gigabytes > MAX_GB or minutes > MAX_MINUTES:
        raise SystemExit(f"gate: more than {MAX_GB} GB or {MAX_MINUTES} minutes")


if __name__ == "__main__":
    main()
