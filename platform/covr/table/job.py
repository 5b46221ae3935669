"""The table as a job: ingest, train, measure, write."""

from __future__ import annotations

import os
import platform
import shlex
from typing import Any

import torch
from omegaconf import OmegaConf

from covr.datasets.ingest import ingest
from covr.evaluate.metrics import PRIMARY
from covr.job import Job
from covr.report.table import page
from covr.storage.place import fingerprint
from covr.table.markdown import markdown
from covr.table.measure import measure
from covr.table.rows import Row, rows_of
from covr.table.train import Trained, seed_root, train_rows
from covr.tracking import RunLogger

OUTPUTS = ("results.json", "results.md", "table.html", "scores.parquet")


def make_table(job: Job) -> dict[str, Any]:
    """Train, measure and compare the rows of `cfg.rows` (`all`: of the data set) under every seed of `cfg.seeds`.

    Writes results.json, results.md, table.html and scores.parquet below the storage root. Killed and run again it goes
    on where it was: every training is a step of its own.

    Raises:
        UserError: an unknown row, or a step that cannot be run for another reason than absent weights.
    """
    asked = job.cfg.rows if isinstance(job.cfg.rows, str) else list(job.cfg.rows)
    rows, seeds = rows_of(job.cfg.data.name, asked), list(job.cfg.seeds)
    torch.set_num_threads(1)  # what is computed here runs beside the rows' own workers
    with job.group("table") as child:
        ingest(child)
        plan, absent = train_rows(child, rows, seeds)
        results = measure(child, plan, [row.name for row in rows if row.name not in absent], seeds)
        results["rows"] += [{"row": row.name, "says": absent[row.name]} for row in rows if row.name in absent]
        results |= {"command": command(job), "machine": machine()}
        for row in rows:
            if row.name not in absent:
                _track(child, row, plan, results)
        (job.root / "results.json").write_json(results)
        (job.root / "results.md").write_bytes(markdown(results, results["command"], results["machine"]).encode())
        (job.root / "table.html").write_bytes(page(job.root, results))
    return results


def command(job: Job) -> str:
    """What has to be typed for the same table."""
    last = {override.lstrip("+").partition("=")[0]: override for override in job.overrides}  # it is what counts
    return shlex.join(["python", "jobs/table.py", *last.values()])


def machine() -> str:
    """The machine in words: what the seconds belong to."""
    gpus = f", {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return f"{len(os.sched_getaffinity(0))} CPUs ({platform.machine()}){gpus}"


def _track(job: Job, row: Row, plan: list[Trained], results: dict[str, Any]) -> None:
    """One MLflow run a row: its configuration, numbers and cost."""
    (found,) = [each for each in results["rows"] if each["row"] == row.name]
    mine = [unit for unit in plan if unit.row == row.name]
    metrics = {name: value for name, value in found["metrics"].items() if value is not None and "/" not in name}

    def work(run: RunLogger) -> dict[str, Any]:
        run.log_metrics({**metrics, **{f"cost/{name}": value for name, value in found["cost"].items()}})
        for step, value in enumerate(found["seeds"].values()):
            run.log_metrics({f"seeds/{PRIMARY}": value}, step)
        return metrics

    job.step(
        f"table/{row.name}",
        settings={"model": OmegaConf.to_container(mine[0].cfg.model), "seeds": list(results["seeds"])},
        inputs={
            **{
                f"seed-{unit.seed}": (seed_root(job.root, unit.seed) / "retrievers" / row.name / "config.json").sha256()
                for unit in mine
            },
            "numbers": fingerprint(found),
        },
        outputs=[],
        work=work,
    )
