"""Training the rows of one table: encoders first, then the rows side by side, each step done once.

Layout below the storage root: `seed-<S>/` holds the rows of a training seed (retrievers/, runs/, scores.parquet) and
`seed-<S>/starts/<key>/` each stage-1 encoder that several of them share. Tables, media, frames and features are the
root's own, for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from covr.cluster.session import connect
from covr.embed.job import embed
from covr.errors import UserError
from covr.job import Job
from covr.report.console import say
from covr.storage import Place
from covr.storage.overlay import Overlay
from covr.storage.place import fingerprint
from covr.table.rows import Row, missing_weights, needed_rows, weights_of
from covr.train.finetune import finetune
from covr.train.pretrain import pretrain

SHARED = ("tables", "media", "frames", "features", "text_states")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One row under one seed."""

    row: str
    seed: int
    cfg: DictConfig
    start: Place
    """Where its stage 1 lies."""


def train_rows(job: Job, rows: Sequence[Row], seeds: Sequence[int]) -> tuple[list[Trained], dict[str, str]]:
    """Train every row under every seed, and the rows that they need.

    Returns:
        What was trained, in the order of the rows; and of the rows without weights, what they say.
    """
    plan, absent = _plan(job, rows, seeds), dict[str, str]()
    cluster = connect(job.cfg.machine)
    of_start: dict[str, list[Trained]] = {}
    for unit in plan:
        of_start.setdefault(str(unit.start), []).append(unit)
    for unit, *others in of_start.values():  # each may use the whole machine: decoding, training and embedding
        start = job_of(job, unit, unit.start)
        names = ", ".join(one.row for one in (unit, *others))
        say(f"[bold]seed {unit.seed}, stage 1 of {names}[/bold]")
        try:
            pretrain(start)
        except UserError as error:
            if (said := missing_weights(error, unit.row)) is None:
                raise
            absent |= {one.row: said for one in (unit, *others)}
            say(f"  {said}")
            continue
        embed(start)
    slots = max(1, int(cluster.num_gpus or cluster.num_cpus))
    for wave in _waves([unit for unit in plan if unit.row not in absent]):
        _side_by_side(partial(_finetune, job, absent), wave, slots)
    return [unit for unit in plan if unit.row not in absent], absent


def seed_root(root: Place, seed: int) -> Place:
    """The place of a training seed's rows."""
    return Overlay(root / f"seed-{seed}", {name: root / name for name in SHARED})


def job_of(job: Job, unit: Trained, place: Place, **shared: Place) -> Job:
    """The job of a row whose own folders lie at `place`."""
    root = Overlay(place, {**{name: job.root / name for name in SHARED}, **shared})
    return replace(job, cfg=unit.cfg, root=root)


def changed(cfg: DictConfig, **values: Any) -> DictConfig:
    """A copy of a configuration with other values."""
    return cast(DictConfig, OmegaConf.merge(cfg, values))


def _finetune(job: Job, absent: dict[str, str], unit: Trained) -> None:
    home = seed_root(job.root, unit.seed)
    cfg = unit.cfg
    if cfg.trainer.threads == "auto":
        cfg = changed(cfg, trainer={"threads": 1})  # one CPU a row, and the rows side by side
    try:
        finetune(job_of(job, replace(unit, cfg=cfg), home, pretrain=unit.start / "pretrain"), unit.row)
    except UserError as error:
        if (said := missing_weights(error, unit.row)) is None:
            raise
        absent[unit.row] = said


def _plan(job: Job, rows: Sequence[Row], seeds: Sequence[int]) -> list[Trained]:
    waiting, seen = list(rows), {row.name for row in rows}
    configured: list[tuple[str, DictConfig]] = []
    for row in waiting:
        cfg = row.configure(job.overrides, weights_of(job.cfg, row.name))
        configured.append((row.name, cfg))
        for needed in needed_rows(cfg):
            if needed not in seen:
                seen.add(needed)
                waiting.append(Row(name=needed, model=row.model.replace(row.name, needed)))
    plan: list[Trained] = []
    for seed in seeds:
        for name, cfg in configured:
            start = job.root / f"seed-{seed}" / "starts" / _start_key(cfg, name)
            plan.append(Trained(row=name, seed=seed, cfg=changed(cfg, seed=seed), start=start))
    return plan


def _start_key(cfg: DictConfig, row: str) -> str:
    """Equal for rows that share a stage 1."""
    if "video" not in cfg.model:
        return row
    parts = {name: OmegaConf.to_container(cfg.model[name], resolve=True) for name in ("video", "pretrain")}
    return fingerprint(parts, cfg.model.init, "pretrain" in cfg.model.get("skip", ()))[:12]


def _waves(plan: Sequence[Trained]) -> list[list[Trained]]:
    """Rows that need none, then rows that need those."""
    first = [unit for unit in plan if not needed_rows(unit.cfg)]
    return [first, [unit for unit in plan if needed_rows(unit.cfg)]]


def _side_by_side(work: Callable[[Trained], None], units: Sequence[Trained], slots: int) -> None:
    """Do all, so many at a time; after a failure nothing is begun, and what runs is waited for."""
    pool = ThreadPoolExecutor(slots, thread_name_prefix="row")
    futures = [pool.submit(work, unit) for unit in units]
    try:
        finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in finished:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
