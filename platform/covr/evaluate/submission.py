"""Anybody's ranked answers from a file: a benchmark's JSON, a TREC run, or a `runs` table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from covr import tables
from covr.datasets.annotations import read_json
from covr.errors import UserError
from covr.storage import Place, TableStore

STAGE = "submission"
METRICS = {"recall": "cirr", "recall_subset": "cirr-subset"}
"""CIRR's files say which of its two protocols they answer."""
FIX = "give {query: [answers, best first]} as JSON, a TREC run, or a runs table"


def read_predictions(file: Path, query_ids: Sequence[str], prefix: str, protocol: str) -> pa.Table:
    """A `runs` table from a file of ranked answers.

    * `.json`: an object of query -> list of clips, best first; names or numbers. CIRR's `version` and `metric` are
      checked and are no queries.
    * a folder or `.parquet`: a `runs` table of this platform.
    * anything else: a TREC run (query, Q0, clip, rank, score, tag); its ranks count.

    Args:
        query_ids: of the annotations; a file may name queries by these or by their published ids.
        prefix: what the former have before the latter.

    Raises:
        UserError: no such file, another form, or an unknown query.
    """
    if not file.exists():
        raise UserError("no such file of predictions", str(file), FIX)
    known = {name: name for name in query_ids} | {name.removeprefix(prefix): name for name in query_ids}
    if file.is_dir():
        runs = TableStore(Place(file), "runs").read()
    elif file.suffix == ".parquet":
        runs = _parquet(file)
    elif file.suffix == ".json":
        return _table(_json(file, protocol), known, str(file))
    else:
        return _table(_trec(file), known, str(file))
    names = [_query(name, known, str(file)) for name in runs["query_id"].to_pylist()]
    return runs.set_column(0, runs.schema.field(0), pa.array(names, pa.string()))


def _table(ranked: Mapping[str, Sequence[str]], known: Mapping[str, str], file: str) -> pa.Table:
    names = [_query(key, known, file) for key in ranked]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError("a query is answered twice", f"{file}: {twice}", "name each query once")
    rows = [
        (name, rank, clip)
        for name, clips in zip(names, ranked.values(), strict=True)
        for rank, clip in enumerate(clips, 1)
    ]
    queries, ranks, clips = zip(*rows, strict=True) if rows else ((), (), ())
    scores = [-float(rank) for rank in ranks]
    return pa.table([queries, ranks, clips, scores, [STAGE] * len(rows)], schema=tables.RUNS)


def _query(key: str, known: Mapping[str, str], file: str) -> str:
    if key not in known:
        raise UserError("an unknown query is answered", f"{file}: {key}", "score it against its own annotations")
    return known[key]


def _json(file: Path, protocol: str) -> dict[str, list[str]]:
    value = read_json(Place(file))
    if not isinstance(value, dict):
        raise UserError("not an object of queries", str(file), FIX)
    metric = value.pop("metric", None)
    if (asked := METRICS.get(metric, protocol)) != protocol:
        raise UserError(f"the file answers {metric!r}", f"{file}: metric", f"use --protocol {asked}")
    value.pop("version", None)
    return {key: _clips(answers, f"{file}: query {key}") for key, answers in value.items()}


def _clips(answers: object, where: str) -> list[str]:
    if not isinstance(answers, list):
        raise UserError("the answers are no list", where, FIX)
    for answer in answers:
        if (
            isinstance(answer, bool)
            or not isinstance(answer, str | int)
            or not str(answer).isprintable()
            or answer == ""
        ):
            raise UserError(f"an answer is no clip: {answer!r}"[:80], where, "name clips by strings or whole numbers")
    return [str(answer) for answer in answers]


def _trec(file: Path) -> dict[str, list[str]]:
    by_rank: dict[str, list[tuple[int, str]]] = {}
    for query, rank, clip in _trec_rows(file):
        by_rank.setdefault(query, []).append((rank, clip))
    ranked = {}
    for query, answers in by_rank.items():
        answers.sort(key=lambda answer: answer[0])
        if len({rank for rank, _ in answers}) != len(answers):
            raise UserError("a rank is given twice", f"{file}: query {query}", "give each rank once")
        ranked[query] = [clip for _, clip in answers]
    return ranked


def _trec_rows(file: Path) -> Iterator[tuple[str, int, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("neither JSON nor a TREC run", str(file), FIX) from None
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 6 or not fields[3].isdecimal():
            raise UserError("not a line of a TREC run", f"{file}, line {number}", "query Q0 clip rank score tag")
        yield fields[0], int(fields[3]), fields[2]


def _parquet(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError):
        raise UserError("not a Parquet file", str(file), FIX) from None
    return tables.check(table, "runs", str(file))
