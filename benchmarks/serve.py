"""What the endpoint adds to Ray Serve, and what batching brings.

python benchmarks/serve.py [--root out/demo] [--requests 300]

1. Added latency: a query by clip id, and one by clip id and text, to the endpoint in each topology, by turns with a
   request to an ingress of Ray Serve that does nothing, in the same Serve instance; one at a time. What the retriever
   itself takes for a query (`timings_ms.encode`) is shown, and taken off: it is the model's, not the service's.
2. Throughput: 16 callers, every text another, of a text encoder of 20 ms or more (BERT-base's size, random weights):
   batches of up to 16 against batches of one, by turns. One thread computes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pairs import Timing, interleave, machine, ratio_of

sys.path.remove(str(Path(__file__).parent))  # where `serve` is this file, here and in Ray's workers

import httpx
import numpy as np
import ray
import torch
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions

from covr.config.compose import compose
from covr.index.current import Current
from covr.index.parts import indexed_clips
from covr.index.snapshot import Snapshot
from covr.models import ComposedRetriever, build_retriever
from covr.storage import Place
from serve.address import free_port
from serve.app import app
from serve.run import wait_ready
from serve.settings import Settings

CALLERS = 16
TARGET_MS = {"colocated": 6.0, "separate": 18.0}
TARGET_SPEED = 2.0
LEAST_ENCODER_MS = 20.0

nothing = FastAPI()


@ray_serve.deployment
@ray_serve.ingress(nothing)
class Nothing:
    """Answers what it has."""

    @nothing.post("/v1/search")
    async def search(self) -> dict[str, str]:
        return {"results": "none"}


def took_ms(http: httpx.Client, url: str, query: dict[str, Any]) -> tuple[float, float]:
    """Of a request, and of it the retriever."""
    start = time.perf_counter()
    response = http.post(f"{url}/v1/search", json=query).raise_for_status()
    took = 1000 * (time.perf_counter() - start)
    return took, response.json().get("timings_ms", {"encode": 0.0})["encode"]


def added(http: httpx.Client, floor: str, url: str, query: dict[str, Any], requests: int) -> dict[str, float]:
    """Medians of requests to both by turns, and of what the service adds, with its 95 % interval."""
    pairs = [(*took_ms(http, floor, query), *took_ms(http, url, query)) for _ in range(requests + 30)][30:]
    floors, _, ours, encode = np.array(pairs).T
    drawn = np.random.default_rng(0).integers(0, len(pairs), (2000, len(pairs)))
    differences = np.median((ours - encode)[drawn], axis=1) - np.median(floors[drawn], axis=1)
    low, high = np.percentile(differences, [2.5, 97.5])
    medians = {"floor_ms": np.median(floors), "p50_ms": np.median(ours), "encode_ms": np.median(encode)}
    medians["added_ms"] = np.median(ours - encode) - medians["floor_ms"]
    return {name: float(value) for name, value in {**medians, "low": low, "high": high}.items()}


def with_large_text_encoder(root: Place, folder: Place) -> None:
    """The clips of a root under a retriever whose text encoder has the size of BERT-base, untrained."""
    current = Current.read(root)
    small = ComposedRetriever.load(current.retriever_uri(root))
    snapshot = Snapshot.load(current.snapshot_place(root), target_fingerprint=small.target_fingerprint)
    torch.manual_seed(0)
    options = ["model/text=bert-base", "model.text.weights=random", "model.text.padding=longest"]
    large = build_retriever(compose(options).model, small.video).eval()
    with torch.inference_mode():
        vectors = large.embed_target(torch.tensor(snapshot.features_NF)).numpy()
    made = Snapshot.build(
        folder / "index",
        clips=snapshot.clips,
        vectors_ND=vectors,
        features_NF=snapshot.features_NF,
        similarity=large.similarity,
        target_fingerprint=large.target_fingerprint,
        retriever_fingerprint=large.fingerprint,
        dataset_fingerprint="benchmark",
        decoder=snapshot.manifest.decoder,
    )
    large.save(folder / "retrievers/large")
    Current(snapshot=made.fingerprint, retriever="retrievers/large").write(folder)


def answered(url: str, clip_id: str, requests: int, numbers: count) -> tuple[Timing, float, float]:
    """So many queries by 16 callers; with it the encoder's time a pass, and the queries in one, at the median."""

    def ask(number: int) -> tuple[float, int]:
        answer = http.post(
            f"{url}/v1/search", json={"clip_id": clip_id, "text": f"show it with {number} turns", "k": 5}
        )
        found = answer.raise_for_status().json()
        return found["timings_ms"]["encode"], found["batch_size"]

    limits = httpx.Limits(max_connections=CALLERS)
    with httpx.Client(timeout=120, limits=limits) as http, ThreadPoolExecutor(CALLERS) as callers:
        start = time.perf_counter()
        passes = list(callers.map(ask, [next(numbers) for _ in range(requests)]))
        wall_s = time.perf_counter() - start
    encode_ms, sizes = np.median(np.array(passes), axis=0)
    return Timing(amount=requests, wall_s=wall_s, cpu_s=float("nan")), float(encode_ms), float(sizes)


def deployed(base: str, name: str, **settings: Any) -> str:
    ray_serve.run(app(Settings(**settings)), name=name, route_prefix=f"/{name}")
    wait_ready(f"{base}/{name}")
    return f"{base}/{name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="out/demo")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    args = parser.parse_args()
    root = Place(args.root)
    clip_id = indexed_clips(Current.read(root).snapshot_place(root))[0]
    ray.init(address="local", num_cpus=8, object_store_memory=300 << 20, include_dashboard=False, log_to_driver=False)
    port = free_port("127.0.0.1", 0)
    ray_serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host="127.0.0.1", port=port))
    base, latency = f"http://127.0.0.1:{port}", []
    try:
        ray_serve.run(Nothing.bind(), name="nothing", route_prefix="/nothing")
        queries = {"clip id": {"clip_id": clip_id}, "clip id and text": {"clip_id": clip_id, "text": "two turns"}}
        with httpx.Client(timeout=60) as http:
            for topology in TARGET_MS:
                url = deployed(base, topology, root=str(root), topology=topology)
                for asked, query in queries.items():
                    found = added(http, f"{base}/nothing", url, query, args.requests)
                    latency.append({"topology": topology, "query": asked, **found})
                    print(latency[-1], flush=True)
                ray_serve.delete(topology)
        with tempfile.TemporaryDirectory() as folder:
            with_large_text_encoder(root, Place(folder))
            batched = deployed(base, "batched", root=folder, max_batch_size=CALLERS)
            single = deployed(base, "single", root=folder, max_batch_size=1)
            numbers, seen = count(), []

            def run(url: str) -> Timing:
                timing, encode_ms, size = answered(url, clip_id, 6 * CALLERS, numbers)
                seen.append((url, encode_ms, size))
                print(f"  {url.rsplit('/', 1)[1]}: {encode_ms:.0f} ms a pass of {size:g}", flush=True)
                return timing

            pairs = interleave(lambda: run(batched), lambda: run(single), args.pairs)
    finally:
        ray_serve.shutdown()
        ray.shutdown()
    print(
        "| topology | query | no-op ingress p50, ms | p50, ms | of it the retriever | added by the rest [95 %] | "
        "target |\n"
        "|---|---|---|---|---|---|---|"
    )
    for row in latency:
        target = TARGET_MS[row["topology"]]
        print(
            f"| {row['topology']} | {row['query']} | {row['floor_ms']:.1f} | {row['p50_ms']:.1f} | "
            f"{row['encode_ms']:.1f} | {row['added_ms']:.1f} [{row['low']:.1f}, {row['high']:.1f}] | {target:g} |"
        )
    speed = ratio_of([(a.amount / a.wall_s) / (b.amount / b.wall_s) for a, b in pairs])
    encode_ms = {name: float(np.median([ms for url, ms, _ in seen if url == name])) for name in (batched, single)}
    size = float(np.median([size for url, _, size in seen if url == batched]))
    per_s = [float(np.median([pair[side].amount / pair[side].wall_s for pair in pairs])) for side in (0, 1)]
    print(
        f"16 callers: {per_s[0]:.1f} queries/s in batches of {size:g} ({encode_ms[batched]:.0f} ms a pass), "
        f"{per_s[1]:.1f} in batches of one ({encode_ms[single]:.0f} ms): {speed} times"
    )
    result = {"latency": latency, "speed": speed.median, "low": speed.low, "high": speed.high, "per_s": per_s}
    result |= {"encode_ms": list(encode_ms.values()), "batch_size": size, "machine": machine()}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "serve.json").write_text(json.dumps(result, indent=1))
    if encode_ms[single] < LEAST_ENCODER_MS:
        raise SystemExit(f"gate: the encoder takes less than {LEAST_ENCODER_MS:g} ms: it says nothing about batching")
    over = [row for row in latency if row["added_ms"] > TARGET_MS[row["topology"]]]
    if over or speed.median < TARGET_SPEED:
        raise SystemExit(f"gate: {len(over)} latencies over their target, {speed.median:.2f} times the throughput")


if __name__ == "__main__":
    main()
