"""Clip files: rendered in parallel on Ray, each at most once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import ray
from rich.progress import Progress

from covr.datasets.motions.clip import Clip
from covr.datasets.motions.render import encode, frames
from covr.report.console import console
from covr.storage import Place

BATCH = 32
"""Clips of one task: about a second's work."""


def render(clips: Sequence[Clip], folder: Place) -> list[str]:
    """Write `<clip_id>.mp4` of each clip below `folder` and return the files' SHA-256, in the clips' order.

    A file that is there under its final name is whole and of this very draw, so it is only read.
    """
    batches = [clips[i : i + BATCH] for i in range(0, len(clips), BATCH)]
    tasks = {_render.remote(batch, folder): i for i, batch in enumerate(batches)}
    hashes: dict[int, list[str]] = {}
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"rendering {len(clips)} clips", total=len(clips))
        waiting = list(tasks)
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            hashes[tasks[done]] = ray.get(done)
            progress.advance(bar, len(batches[tasks[done]]))
    return [digest for i in range(len(batches)) for digest in hashes[i]]


@ray.remote
def _render(clips: Sequence[Clip], folder: Place) -> list[str]:
    return [_render_one(folder / f"{clip.clip_id}.mp4", clip) for clip in clips]


def _render_one(file: Place, clip: Clip) -> str:
    if file.exists():
        return file.sha256()
    data = encode(frames(clip))
    file.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
