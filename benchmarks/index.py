"""Approximate indexes against exact search: recall@10, speed, size, time to build.

python benchmarks/index.py [--root out/demo] [--count 100000] [--intrinsic 16]

The vectors are the features that `--root` has indexed (motions, by `make demo`), drawn with replacement, plus noise in
a random subspace of `--intrinsic` dimensions, of unit length; the queries are further draws. Every kind searches the
same queries one at a time, as the endpoint does at low load, by turns with the exact search; both by one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from pairs import Timing, interleave, machine, ratio_of

from covr.index.approximate import Approximate
from covr.index.current import Current
from covr.index.exact import top_k
from covr.index.parts import FEATURES
from covr.index.snapshot import unit
from covr.storage import Place

KINDS = ("ivf", "sq", "hnsw", "pq")
NOISE = 0.5  # of the features' own spread: neighbourhoods overlap, and no two vectors are the same


def draw(features_MF: np.ndarray, count: int, intrinsic: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors (count, F): features and noise in the same subspace at every call."""
    dim = features_MF.shape[1]
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, intrinsic)))
    spread = np.linalg.norm(features_MF - features_MF.mean(axis=0), axis=1).mean()
    noise = rng.normal(size=(count, intrinsic)) @ basis.T * (NOISE * spread / np.sqrt(intrinsic))
    return unit(features_MF[rng.integers(0, len(features_MF), count)] + noise)


def timed(search, queries_QD: np.ndarray) -> Timing:
    wall, cpu = time.perf_counter(), time.process_time()
    for query_D in queries_QD:
        search(query_D[None])
    return Timing(amount=len(queries_QD), wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="out/demo")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--intrinsic", type=int, default=16)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    args = parser.parse_args()
    root = Place(args.root)
    features_NF = np.load((Current.read(root).snapshot_place(root) / FEATURES).local(), allow_pickle=False)
    features_MF = np.unique(features_NF.reshape(len(features_NF), -1), axis=0)
    rng = np.random.default_rng(1)
    vectors_ND = draw(features_MF, args.count, args.intrinsic, rng)
    queries_QD = draw(features_MF, args.queries, args.intrinsic, rng)
    nearest = [set(rows.tolist()) for _, rows in top_k(queries_QD, vectors_ND, 10)]
    about = {"count": args.count, "dim": vectors_ND.shape[1], "features": len(features_MF), "intrinsic": args.intrinsic}
    print(json.dumps(about), flush=True)
    found = []
    for kind in args.kinds:
        start = time.perf_counter()
        index, _ = Approximate.build(kind, vectors_ND, "cosine")
        build_s = time.perf_counter() - start
        rows = [set(rows.tolist()) for _, rows in index.top_k(queries_QD, 10)]
        recall = float(np.mean([len(a & b) / 10 for a, b in zip(nearest, rows, strict=True)]))
        pairs = interleave(
            lambda index=index: timed(lambda query: index.top_k(query, 10), queries_QD),
            lambda: timed(lambda query: top_k(query, vectors_ND, 10), queries_QD),
            args.pairs,
        )
        ratio = ratio_of([(a.amount / a.wall_s) / (b.amount / b.wall_s) for a, b in pairs])
        own_ms, exact_ms = (
            1000 * float(np.median([p[side].wall_s / p[side].amount for p in pairs])) for side in (0, 1)
        )
        size_mib = len(index.pack()) / 2**20
        found.append(
            {"kind": kind, "effort": index.effort, "recall": recall, "speed": ratio.median, "low": ratio.low}
            | {"high": ratio.high, "exact_ms": exact_ms, "own_ms": own_ms, "mib": size_mib, "build_s": build_s}
        )
        print(json.dumps(found[-1]), flush=True)
    print("| kind | effort | recall@10 | queries/s to exact's [95 %] | exact, ms | its own, ms | MiB | built in, s |")
    print("|---|---|---|---|---|---|---|---|")
    for row in found:
        print(
            "| {kind} | {effort} | {recall:.3f} | {speed:.1f} [{low:.1f}, {high:.1f}] | {exact_ms:.2f} | {own_ms:.2f} "
            "| {mib:.0f} | {build_s:.0f} |".format_map(row)
        )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "index.json").write_text(json.dumps({**about, "kinds": found, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
