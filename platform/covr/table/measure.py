"""Measuring the rows of one table: every seed answers the same queries, and what a query scored is averaged over seeds.

The intervals are over label pairs, of the mean over seeds; so are the tests of one row against another. The spread
between seeds stands beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from covr.cluster.session import connect
from covr.embed.refused import refused
from covr.evaluate import scores
from covr.evaluate.against import adjusted, against, any_against_any
from covr.evaluate.job import PROTOCOLS
from covr.evaluate.metrics import DEEPEST, PRIMARY
from covr.evaluate.queries import Queries
from covr.evaluate.results import Comparison, Scores, clusters, score
from covr.evaluate.row import CHANCE, Row, publish, run_name
from covr.job import Job
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.table.rows import needed_rows
from covr.table.train import Trained, changed, job_of, seed_root

EFFECTS = (
    ("mlp", "text-only", "both inputs over the text alone"),
    ("mlp", "video-only", "both inputs over the video alone"),
    ("frame-mlp-12", "frame-mlp-1", "12 frames over 1"),
    ("tf-covr-base", "tf-covr-base-stage2-only", "two stages over stage 2 only"),
    ("mlp", "average", "the trained combiner over the average"),
    ("mlp", "mlp-unmasked", "right answers masked over not masked"),
    ("mlp", "mlp-published-weights", "corrected weights of the loss over the published ones"),
    ("mlp", "mlp-uncentred", "centred unit video vectors over raw ones"),
    ("ours", "mlp", "ours over the row mlp"),
    ("ours", "ours-without-expansion", "queries asked again with their best five answers over asked once"),
    ("ours", "ours-without-head", "a trained head on the video vectors over none"),
    ("ours", "ours-narrow", "a wider combiner over that of mlp"),
    ("ours", "ours-batch-128", "batches of 512 over 128"),
    ("ours", "cross-attention", "ours over the best published form that reads frames"),
    ("ours", "tf-covr-base", "ours over TF-CoVR-Base"),
)
"""Rows that differ in one thing, and in what: the better one is expected first."""


def measure(job: Job, plan: Sequence[Trained], names: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """results.json of the table, without rows that could not be run; writes scores.parquet of each seed and of all."""
    queries = _queries(job, plan)
    names = [*names, CHANCE]
    by_seed = {seed: _answer(job, plan, queries, names, seed) for seed in seeds}
    mean = {name: _mean([found[name] for found in by_seed.values()]) for name in names}
    for seed, found in by_seed.items():
        (seed_root(job.root, seed) / scores.FILE).write_bytes(scores.write(found, queries))
    (job.root / scores.FILE).write_bytes(scores.write(mean, queries))
    rows = Comparison(queries, job.cfg.test.bootstrap, job.cfg.seed).rows(mean)
    for row in rows:
        name = row["row"]
        row["seeds"] = {
            str(seed): round(100 * float(found[name].values[PRIMARY].mean()), 6) for seed, found in by_seed.items()
        }
        row["cost"] = None if name == CHANCE else cost(job, plan, name)
    return {
        "data": job.cfg.data.name,
        "settings": OmegaConf.to_container(job.cfg.data),
        "split": job.cfg.test.split,
        "protocol": job.cfg.test.protocol,
        "gallery": queries.gallery,
        "seeds": list(seeds),
        "rows": rows,
        "effects": _effects(mean, by_seed, clusters(queries)),
        "pairs": any_against_any(mean, clusters(queries)),
    }


def cost(job: Job, plan: Sequence[Trained], name: str) -> dict[str, float]:
    """Device-seconds (GPUs, or CPU threads where there are none) that a row costs, the mean over its seeds."""
    cpus = connect(job.cfg.machine).num_cpus  # embedding holds all of them
    found: list[dict[str, float]] = []
    for unit in (unit for unit in plan if unit.row == name):
        pretrain, embed = _result(unit.start, "pretrain"), _result(unit.start, "embed")
        trained = [name, *needed_rows(unit.cfg)]
        steps = [_result(seed_root(job.root, unit.seed), f"finetune/{row}") for row in trained]
        found.append(
            {
                "stage 1": pretrain.get("seconds", 0.0) * pretrain.get("devices", 1),
                "features": embed["seconds"] * cpus,
                "stage 2": sum(step.get("seconds", 0.0) * step.get("devices", 1) for step in steps),
            }
        )
    parts = {part: round(float(np.mean([each[part] for each in found])), 1) for part in found[0]}
    return {**parts, "device_seconds": round(sum(parts.values()), 1)}


def _queries(job: Job, plan: Sequence[Trained]) -> Queries:
    """What every row can answer."""
    queries = Queries.read(job.root, job.cfg.test.split).tagged(job.cfg.test.only or {})
    lacking: frozenset[str] = frozenset()
    for encoder in {name for unit in plan for name in _result(unit.start, "embed")["encoder"].split()}:
        lacking |= refused(job.root, encoder)
    queries = queries.without(lacking)
    if lost := queries.coverage:
        say(f"  {lost}; tables/quarantine says why")
    return queries.answerable()


def _answer(job: Job, plan: Sequence[Trained], queries: Queries, names: Sequence[str], seed: int) -> dict[str, Scores]:
    """Every row's answers under one seed, published as its `runs` tables, and what they score."""
    home = seed_root(job.root, seed)
    seeded = replace(job, root=home, cfg=changed(job.cfg, seed=seed))
    units = {unit.row: unit for unit in plan if unit.seed == seed}
    found = {}
    for name in names:
        row = Row(seeded if name == CHANCE else job_of(job, units[name], home), name)
        tables = {}
        for protocol in PROTOCOLS[job.cfg.test.protocol]:
            depth = job.cfg.test.depth if protocol == "corrected" else DEEPEST
            publish(seeded, row, queries, protocol, run_name(name, protocol), depth)
            tables[protocol] = TableStore(home / "runs" / run_name(name, protocol), "runs").read()
        found[name] = score(tables, queries, name)
    say(f"  seed {seed}: {len(names)} rows answered {len(queries)} queries")
    return found


def _mean(found: Sequence[Scores]) -> Scores:
    ranks = [each.median_rank for each in found if each.median_rank is not None]
    values = {metric: np.mean([each.values[metric] for each in found], axis=0) for metric in found[0].values}
    return Scores(values=values, median_rank=float(np.mean(ranks)) if ranks else None)


def _effects(
    mean: Mapping[str, Scores], by_seed: Mapping[int, Mapping[str, Scores]], of_cluster: np.ndarray
) -> list[dict[str, Any]]:
    """The claims of the field, each by two rows that are both there."""
    effects = []
    for better, worse, what in EFFECTS:
        if better not in mean or worse not in mean:
            continue
        seeds = {
            str(seed): round(100 * float(np.mean(found[better].values[PRIMARY] - found[worse].values[PRIMARY])), 6)
            for seed, found in by_seed.items()
        }
        test = against(mean[better], mean[worse], of_cluster)
        effects.append({"what": what, "row": better, "over": worse, "seeds": seeds, **test})
    return adjusted(effects)


def _result(root: Place, step: str) -> dict[str, Any]:
    return (root / "steps" / f"{step}.json").read_json()["result"]
