"""Training through Ray Train / the same steps in a bare PyTorch loop, on 1 and 2 workers.

    python benchmarks/train_step.py [--pairs 3] [--steps 300] [--out out/bench]

A is `covr.train.fit`: order of rows, logging, agreement on the loss, checkpoints. B is a loop over the same batches:
forward, loss, backward, update, in processes of its own (gloo and DistributedDataParallel for 2). Both train the
composed retriever of `model=tf-covr-base-tiny model/text=random` on made-up vectors, one thread a process; timed
from step 20 to the last, in the slowest worker, CPU seconds of all workers added.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pairs import Timing, interleave, report
from torch import nn

from covr import tables
from covr.cluster.session import connect
from covr.config.compose import build, compose
from covr.losses import WeightedTargets
from covr.models import AIM, ComposedRetriever, build_retriever
from covr.storage import Place, TableStore
from covr.tracking import RunLogger
from covr.tracking.journal import Journal
from covr.train.fit import fit
from covr.train.order import Order
from covr.train.recipe import Recipe
from covr.train.task import Shard
from covr.train.triplets import TripletTask
from covr.train.vectors import Vectors
from covr.train.workers import Workers

WARM_UP, BATCH, CLIPS, LABELS = 20, 128, 512, 32
OPTIONS = ("model=tf-covr-base-tiny", "model/text=random")


class TimedTask(TripletTask):
    """Writes down when steps `WARM_UP` and last begin, in wall time and in this process's CPU time."""

    def __init__(self, shard: Shard, *, times: Path, **options: Any) -> None:
        super().__init__(shard, **options)
        self.times = times

    def batches(self, order: Order, first: int, last: int) -> Iterator[dict[str, Any]]:
        marks = []
        for step, batch in enumerate(super().batches(order, first, last), first):
            if step in (WARM_UP, last - 1):
                marks.append((time.perf_counter(), time.process_time()))
            yield batch
        (begin, cpu), (end, cpu_end) = marks
        (self.times / f"{self.shard.rank}.json").write_text(json.dumps([end - begin, cpu_end - cpu]))

    def validate(self) -> dict[str, float]:
        return {self.primary: 0.0}  # only steps are timed


def new_retriever() -> ComposedRetriever:
    model = compose(OPTIONS).model
    return build_retriever(model, AIM(build(model.video)))


def make_root(root: Place, num_triplets: int) -> None:
    """Triplets of many right answers over clips of random vectors."""
    clips = [f"clip{n:04d}" for n in range(CLIPS)]
    rng = np.random.default_rng(0)
    of_label = [clips[label::LABELS] for label in range(LABELS)]
    triplets = [
        {
            "query_id": f"{split}{n}",
            "query_clip": of_label[n % LABELS][n // LABELS % len(of_label[0])],
            "modifications": [f"show it {n % 7} times on the {word}" for word in ("floor", "beam", "bars")],
            "target_clips": of_label[(n + 1) % LABELS],
            "target_label": f"label{(n + 1) % LABELS}",
            "galleries": [("corrected", "all")],
            "split": split,
        }
        for split, num in (("train", num_triplets), ("val", LABELS))
        for n in range(num)
    ]
    rows = {"triplets": triplets, "galleries": [{"gallery_id": "all", "clip_id": clip} for clip in clips]}
    for name, values in rows.items():
        TableStore(root / "tables" / name, name).publish(tables.from_rows(name, values), f"{name:0<32}")
    width = build(compose(OPTIONS).model.video).dim
    Vectors.write(root / "vectors.arrow", clips, rng.normal(size=(CLIPS, width)).astype(np.float32))


def make_task(root: Place, times: Path) -> partial[TimedTask]:
    return partial(
        TimedTask,
        build=new_retriever,
        loss=WeightedTargets(build(compose(OPTIONS).model.loss), {"si_ti": 1.0}),
        root=root,
        vectors=root / "vectors.arrow",
        out=root / "out",
        times=times,
    )


def recipe(steps: int) -> Recipe:
    return Recipe(max_epochs=1, batch_size=BATCH, lr=1e-3, weight_decay=0.05, warmup=0.05, clip_grad=1.0, seed=0)


def read(times: Path, steps: int) -> Timing:
    walls, cpus = zip(*(json.loads(file.read_text()) for file in times.iterdir()), strict=True)
    return Timing(amount=steps - 1 - WARM_UP, wall_s=max(walls), cpu_s=sum(cpus))


def through_ray(root: Place, workers: int, steps: int) -> Timing:
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        times.mkdir()
        fit(
            make_task(root, times),
            recipe=recipe(steps),
            workers=Workers(num=workers, use_gpu=False, threads=1, data_cpus=0),
            logger=RunLogger(Journal(Place(folder), "bench")),
            checkpoints=Place(folder) / "checkpoints",
            name="bench",
        )
        return read(times, steps)


def bare(root: Place, workers: int, steps: int) -> Timing:
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        times.mkdir()
        mp.spawn(bare_worker, (workers, f"file://{folder}/rendezvous", str(root), times, steps), nprocs=workers)
        return read(times, steps)


def bare_worker(rank: int, world: int, rendezvous: str, root: str, times: Path, steps: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = make_task(Place(root), times)(Shard(rank=rank, world=world, device=torch.device("cpu"), data_cpus=0))
    model: nn.Module = task.model
    if world > 1:
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
        model = nn.parallel.DistributedDataParallel(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.05, fused=True)  # as the recipe
    model.train()
    for batch in task.batches(Order(num_rows=task.num_rows, batch_size=BATCH, seed=0), 0, steps):
        loss = task.loss(task.forward(model, batch), batch)
        optimizer.zero_grad()
        (loss * world).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    if world > 1:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    options = parser.parse_args()
    connect(compose([f"machine.num_cpus={max(options.workers)}"]).machine)
    with tempfile.TemporaryDirectory() as folder:
        root = Place(folder)
        make_root(root, options.steps * BATCH)
        for workers in options.workers:
            runs = [partial(run, root, workers, options.steps) for run in (through_ray, bare)]
            name = f"train_step_{workers}"
            report(name, interleave(*runs, options.pairs), options.out, unit="steps", workers=workers, batch=BATCH)


if __name__ == "__main__":
    sys.exit(main())
