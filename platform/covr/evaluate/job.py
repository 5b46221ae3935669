"""The evaluation job: every row answers the same queries, is judged by both protocols and compared.

A row's answers are published as the table `runs/<row>` (`runs/<row>-published` under the published protocol, and
`runs/composed-wordings` for every wording of every modification); all numbers come from these tables alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from omegaconf import OmegaConf

from covr.datasets.ingest import COVERAGE
from covr.embed.quarantine import Quarantine
from covr.embed.refused import refused
from covr.errors import UserError
from covr.evaluate import scores
from covr.evaluate.against import any_against_any
from covr.evaluate.benchmarks import benchmark_names, run_benchmarks
from covr.evaluate.metrics import DEEPEST, PRIMARY, Protocol
from covr.evaluate.queries import Queries
from covr.evaluate.results import Comparison, Scores, clusters, score
from covr.evaluate.row import CHANCE, Row, publish, run_name
from covr.evaluate.show import covered
from covr.evaluate.trec import qrels_lines, run_lines
from covr.job import Job
from covr.report.console import say
from covr.report.page import page
from covr.storage import TableStore
from covr.tracking import RunLogger
from covr.tracking.lineage import MADE_BY, makers

MAIN = "composed"
"""The row whose answers are written as TREC files, shown as a sheet and registered as a model."""
WORDINGS = f"{MAIN}-wordings"
OUTPUTS = ("results.json", scores.FILE, "run.trec", "qrels.trec", "report.html")
PROTOCOLS: dict[str, tuple[Protocol, ...]] = {"corrected": ("corrected",), "both": ("corrected", "published")}


def evaluate(job: Job) -> dict[str, Any]:
    """Rank, judge and report `cfg.rows` on `cfg.test.split`; the composed retriever becomes a registered version.

    Writes the `runs` tables, results.json, scores.parquet, run.trec, qrels.trec and report.html under the storage
    root, and the files that the benchmarks of `cfg.test.benchmarks` are known by. Where the split's answers are hidden,
    only the last.

    Raises:
        UserError: a step before this one was not run, or an option is unknown.
    """
    cfg = job.cfg.test
    asked = benchmark_names(cfg.benchmarks, job.cfg.data.name)
    if cfg.protocol not in PROTOCOLS:
        raise UserError("no such protocol", f"test.protocol={cfg.protocol}", f"choose one of {', '.join(PROTOCOLS)}")
    if cfg.depth < DEEPEST:
        raise UserError("too few ranks for the metrics", f"test.depth={cfg.depth}", f"keep at least {DEEPEST}")
    if MAIN not in job.cfg.rows:
        raise UserError(f"the row {MAIN!r} is what the others are compared with", "rows", f"add {MAIN}")
    rows = [Row(job, name) for name in job.cfg.rows]
    every = _covered(job, Queries.read(job.root, cfg.split).tagged(cfg.only or {}), rows)
    queries = every.answerable()
    settings = {"test": OmegaConf.to_container(cfg), "rows": list(job.cfg.rows), "seed": job.cfg.seed}
    inputs = {"queries": every.origin, **{row.name: row.fingerprint for row in rows}}
    if not len(queries):
        if not asked:
            fix = "choose a split with answers, or test=cirr or test=circo for the files that their servers take"
            raise UserError("the right answers of this split are hidden", f"test.split={cfg.split}", fix)
        return job.step(
            "evaluate",
            settings=settings,
            inputs=inputs,
            outputs=[job.root / "results.json"],
            work=lambda run: _without_answers(job, asked, every, rows),
        )
    if left_out := len(every) - len(queries):
        say(f"  {left_out} of {len(every)} queries have no right answer but their own clip: left out")

    def work(run: RunLogger) -> dict[str, Any]:
        _rank(job, queries, rows)
        results = _judge(job, queries)
        results["benchmarks"] = run_benchmarks(job, asked, every, rows)
        (job.root / "results.json").write_json(results)
        answers = TableStore(job.root / "runs" / MAIN, "runs").read()
        (job.root / "run.trec").write_bytes(run_lines(answers, MAIN))
        (job.root / "qrels.trec").write_bytes(qrels_lines(queries.triplets))
        (job.root / "report.html").write_bytes(page(job.root, results, queries, answers))
        for name in OUTPUTS:
            run.log_artifact(name, (job.root / name).read_bytes())
        metrics = _tracked(results)
        run.log_metrics(metrics)
        run.register(
            job.root / "retrievers" / MAIN,
            metric=PRIMARY,
            value=metrics[PRIMARY],
            gallery=queries.origin,
            name=job.cfg.trainer.logger.registered_model,
        )
        return {"queries": len(queries), **metrics}

    return job.step(
        "evaluate",
        settings=settings,
        inputs=inputs,
        outputs=[job.root / name for name in OUTPUTS],
        tags={
            "protocol": cfg.protocol,
            "gallery": queries.gallery,
            "coverage": "; ".join(covered(_coverage(job, queries))) or "all",
            **_made_by(job),
        },
        work=work,
    )


def _made_by(job: Job) -> dict[str, str]:
    """The runs of the steps before, as tags, so that an evaluation leads to the parameters behind it."""
    return {f"{MADE_BY}{step}": run for step, run in makers(job.root).items() if step != "evaluate"}


def _coverage(job: Job, queries: Queries) -> dict[str, Any]:
    """How much of the split the numbers are about: of what was embedded, and of what the annotations name."""
    place = job.root / COVERAGE
    return {
        "split": queries.split,
        "coverage": queries.coverage and asdict(queries.coverage),
        "data_coverage": place.read_json() if place.exists() else None,
    }


def _without_answers(job: Job, asked: Sequence[str], queries: Queries, rows: Sequence[Row]) -> dict[str, Any]:
    """The files that a benchmark's server takes, and results.json without a number."""
    written = run_benchmarks(job, asked, queries, rows)
    facts = {"data": job.cfg.data.name, "protocol": job.cfg.test.protocol, **_coverage(job, queries)}
    (job.root / "results.json").write_json({**facts, "gallery": "not judged here", "rows": [], "benchmarks": written})
    return {"queries": len(queries)}


def _covered(job: Job, queries: Queries, rows: Sequence[Row]) -> Queries:
    """The queries that every row can answer: without clips that embedding refused, which is told."""
    if not Quarantine(job.root, "embed").refusals():
        return queries
    encoders = {encoder for row in rows if row.name != CHANCE and row.fingerprint for encoder in row.features.encoders}
    queries = queries.without(frozenset[str]().union(*(refused(job.root, encoder) for encoder in encoders)))
    if lost := queries.coverage:
        say(f"  {lost}; tables/quarantine says why")
    return queries


def _rank(job: Job, queries: Queries, rows: Sequence[Row]) -> None:
    """Publish every row's `runs` tables."""
    for row in rows:
        if row.name == MAIN:  # before the others, which ask the first wordings of these
            publish(job, row, queries.every_wording(), "corrected", WORDINGS, DEEPEST)
        for protocol in PROTOCOLS[job.cfg.test.protocol]:
            depth = job.cfg.test.depth if protocol == "corrected" else DEEPEST
            publish(job, row, queries, protocol, run_name(row.name, protocol), depth)


def _judge(job: Job, queries: Queries) -> dict[str, Any]:
    """results.json, from the `runs` tables; writes what single queries scored."""
    cfg = job.cfg.test

    def judged(names: Mapping[Protocol, str], asked: Queries) -> Scores:
        tables = {protocol: TableStore(job.root / "runs" / name, "runs").read() for protocol, name in names.items()}
        return score(tables, asked, names["corrected"])

    protocols = PROTOCOLS[cfg.protocol]
    found = {
        row: judged({protocol: run_name(row, protocol) for protocol in protocols}, queries) for row in job.cfg.rows
    }
    (job.root / scores.FILE).write_bytes(scores.write(found, queries))
    rows = Comparison(queries, cfg.bootstrap, job.cfg.seed).rows(found)
    every = queries.every_wording()
    wordings = {MAIN: judged({"corrected": WORDINGS}, every)}
    again = Comparison(every, cfg.bootstrap, job.cfg.seed).rows(wordings)[0]
    main = next(row for row in rows if row["row"] == MAIN)
    main["wordings"] = {key: again[key] for key in ("queries", "metrics", "interval")}
    return {
        "data": job.cfg.data.name,
        "protocol": cfg.protocol,
        "gallery": queries.gallery,
        **_coverage(job, queries),
        "rows": rows,
        "pairs": any_against_any(found, clusters(queries)),
    }


def _tracked(results: dict[str, Any]) -> dict[str, float]:
    """What MLflow gets: the main row's metrics by their own names, the others' primary one under their row's."""
    found: dict[str, float] = {}
    for row in results["rows"]:
        metrics = {name: value for name, value in row["metrics"].items() if value is not None and "/" not in name}
        if row["row"] == MAIN:
            found |= metrics
        else:
            found[f"{row['row']}/{PRIMARY}"] = metrics[PRIMARY]
    return found
