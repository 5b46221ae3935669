"""Embedding's stages on Ray Data / what the machine could do without it, on two kinds of clips.

    python benchmarks/embed_stages.py [--pairs 3] [--clips small=1600 phone=320] [--out out/bench]

`decode`: A is the decode stage of `covr.embed` alone; B is bare loops, as many processes as A has decode workers, each
`covr.clips.decode` and a resize in its own process, without isolation, tables or Ray.
`embed`: A is decode and encode with the parts written; B is the cores divided by the CPU seconds that one process takes
to decode and to encode the same clips: no loop on this machine is faster.

Clips: `small` is 64x64 and two seconds, as `data=motions`; `phone` is 320x240 and ten seconds. Rows name a few files
many times. A is timed from its second block a worker to its last, so that nothing of what it takes to start counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
import torch.multiprocessing as mp
from omegaconf import DictConfig
from pairs import Timing, TreeCpu, interleave, report

from covr import tables
from covr.clips import decode
from covr.clips.decode import version
from covr.cluster.session import connect
from covr.config.compose import build, compose
from covr.embed.features import Features
from covr.embed.pipeline import keep, stream, todo
from covr.embed.quarantine import Quarantine
from covr.limits import JOB_LIMITS
from covr.models import AIM, save_video
from covr.models.video import VideoEncoder, load_video
from covr.report.preview import encode
from covr.storage import Place

KINDS = {"small": (64, 64, 40, 20), "phone": (320, 240, 300, 30)}
"""Width, height, frames, frames a second."""
FILES, WARM_UP_BLOCKS = 4, 2


def make_files(root: Place, kind: str) -> list[str]:
    """Clips of smooth shapes that move, as URIs."""
    width, height, num_frames, fps = KINDS[kind]
    y, x = np.mgrid[:height, :width] / height
    uris = []
    for number in range(FILES):
        phases = (x + y * number + frame / 15 for frame in range(num_frames))
        waves = [np.stack([np.sin(2 * np.pi * k * phase) for k in (1, 2, 3)], axis=-1) for phase in phases]
        frames_THWC = np.stack([(127 * (1 + wave)).astype(np.uint8) for wave in waves])
        (root / f"{kind}{number}.mp4").write_bytes(encode(frames_THWC, Fraction(fps)))
        uris.append(f"{kind}{number}.mp4")
    return uris


def work_on(root: Place, uris: list[str], num_clips: int, encoder: VideoEncoder, machine: DictConfig) -> pa.Table:
    """TODO rows of so many clips by reference."""
    digests = {uri: (root / uri).sha256() for uri in uris}
    clips = [
        {"clip_id": f"clip{n:05d}", "uri": uris[n % FILES], "kind": "video", "sha256": digests[uris[n % FILES]]}
        for n in range(num_clips)
    ]
    features = Features(root, encoder.fingerprint())
    features.describe(encoder.sampling, version(machine.decoder))
    table = tables.from_rows("clips", clips)
    rows, _ = todo(table, features.keys(table), {"pooled": set()}, Quarantine(root, "bench"))
    return rows


def on_ray_data(root: Place, rows: pa.Table, encoder: VideoEncoder, machine: DictConfig, *, encoded: bool) -> Timing:
    """A: the stages as `covr.embed` runs them; CPU seconds of this process and of all below it."""
    workers = 1 if machine.decode_workers == "auto" else machine.decode_workers
    warm_up = WARM_UP_BLOCKS * workers * machine.batch_clips
    marks: list[tuple[int, float, float]] = []
    cpu = TreeCpu()

    def timed(blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
        clips = 0
        for block in blocks:
            clips += len(block)
            if (clips >= warm_up and not marks) or clips == len(rows):
                marks.append((clips, time.perf_counter(), cpu.seconds()))
            yield block

    load = partial(load_video, root / "model") if encoded else None
    options: dict[str, Any] = {"machine": machine, "block_clips": machine.batch_clips, "load": load}
    blocks = stream(rows, root, sampling=encoder.sampling, resize=encoder.resize, accelerator="cpu", **options)
    if not encoded:
        for _ in timed(blocks):
            pass
        return between(*marks)
    keep(
        timed(blocks),
        Features(root, encoder.fingerprint()).write,
        Quarantine(root, "bench"),
        reasons=Counter(),
        label="embed",
        total=len(rows),
        remaining=len(rows),
        max_bad_fraction=0,
        part_bytes=8 << 20,
    )
    return between(*marks)


def between(begin: tuple[int, float, float], end: tuple[int, float, float]) -> Timing:
    return Timing(amount=end[0] - begin[0], wall_s=end[1] - begin[1], cpu_s=end[2] - begin[2])


def bare_decode(root: Place, rows: pa.Table, encoder: VideoEncoder, machine: DictConfig, *, workers: int) -> Timing:
    """B of `decode`: a process for each worker, blocks dealt in turn, from the moment when all are ready."""
    context = mp.get_context("spawn")
    queue, ready = context.SimpleQueue(), context.Barrier(workers)
    arguments = (workers, ready, queue, root, rows, encoder.sampling, encoder.resize, machine)
    processes = mp.spawn(bare_worker, arguments, nprocs=workers, join=False)
    begins, ends, cpus = zip(*(queue.get() for _ in range(workers)), strict=True)
    processes.join()
    return Timing(amount=len(rows), wall_s=max(ends) - min(begins), cpu_s=sum(cpus))


def bare_worker(rank: int, world: int, ready: Any, queue: Any, root: Place, rows: pa.Table, *how: Any) -> None:
    sampling, resize, machine = how
    torch.set_num_threads(1)
    ready.wait()
    begin, cpu = time.perf_counter(), time.process_time()
    for start in range(rank * machine.batch_clips, len(rows), world * machine.batch_clips):
        for row in rows.slice(start, machine.batch_clips).to_pylist():
            clip = decode(str((root / row["uri"]).local()), sampling, decoder=machine.decoder, limits=JOB_LIMITS)
            resize(torch.from_numpy(clip.frames)[None])
    queue.put((begin, time.perf_counter(), time.process_time() - cpu))


@torch.inference_mode()
def cores_over_cpu(root: Place, rows: pa.Table, encoder: VideoEncoder, machine: DictConfig, *, cores: int) -> Timing:
    """B of `embed`: the speed that the CPU seconds of decoding and encoding allow on all cores."""
    rows = rows.slice(0, max(machine.batch_clips, len(rows) // 4 // machine.batch_clips * machine.batch_clips))
    cpu = time.process_time()
    for start in range(0, len(rows), machine.batch_clips):
        frames = []
        for row in rows.slice(start, machine.batch_clips).to_pylist():
            clip = decode(str((root / row["uri"]).local()), encoder.sampling, decoder=machine.decoder)
            frames.append(encoder.resize(torch.from_numpy(clip.frames)[None]))
        encoder.features(torch.cat(frames))
    spent = time.process_time() - cpu
    return Timing(amount=len(rows), wall_s=spent / cores, cpu_s=spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--clips", nargs="+", default=["small=1600", "phone=320"], metavar="KIND=N")
    parser.add_argument("--stages", nargs="+", default=["decode", "embed"], choices=["decode", "embed"])
    parser.add_argument("--machine", nargs="*", default=[], help="options, as machine.decode_workers=2")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    cfg = compose(options.machine)
    cores = int(connect(cfg.machine).num_cpus)
    with tempfile.TemporaryDirectory() as folder:
        root = Place(folder)
        torch.manual_seed(0)
        encoder = AIM(build(compose(["model=tf-covr-base-tiny"]).model.video)).eval()
        save_video(encoder, root / "model")
        for kind, num_clips in (each.split("=") for each in options.clips):
            rows = work_on(root, make_files(root, kind), int(num_clips), encoder, cfg.machine)
            work = (root, rows, encoder)
            facts = {"unit": "clips", "cores": cores, "clips": len(rows)}
            print(f"{kind}: {len(rows)} clips", flush=True)
            if "decode" in options.stages:
                machine = compose([f"machine.decode_workers={cores}", *options.machine]).machine
                a = partial(on_ray_data, *work, machine, encoded=False)
                b = partial(bare_decode, *work, machine, workers=machine.decode_workers)
                report(f"decode_{kind}", interleave(a, b, options.pairs), options.out, **facts)
            if "embed" in options.stages:
                a = partial(on_ray_data, *work, cfg.machine, encoded=True)
                b = partial(cores_over_cpu, *work, cfg.machine, cores=cores)
                report(f"embed_{kind}", interleave(a, b, options.pairs), options.out, **facts)
    ray.shutdown()


if __name__ == "__main__":
    main()
