"""`covr runs compare`: storage roots and MLflow runs, query by query."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
import tiny_world
from mlflow_root import tracking_on
from typer.testing import CliRunner

from covr.cli.main import commands
from covr.errors import UserError
from covr.evaluate import scores
from covr.evaluate.queries import Queries
from covr.evaluate.results import Scores
from covr.evaluate.significance import paired
from covr.storage import Place


def world(place: Place, learning_rate: float, shift: float) -> Queries:
    """A storage root after an evaluation: scores of two rows, and the runs that made them."""
    tiny_world.build(place)
    queries = Queries.read(place, "test")
    rng = np.random.default_rng(0)
    base_Q = rng.uniform(0.2, 0.6, len(queries))
    rows = {
        "composed": Scores(values={"mAP@10": base_Q + shift, "R@1": np.round(base_Q)}),
        "text-only": Scores(values={"mAP@10": base_Q / 2, "R@1": np.zeros_like(base_Q)}),
    }
    (place / scores.FILE).write_bytes(scores.write(rows, queries))
    tracking = tracking_on(place)
    made_by = {}
    for step, params in (
        ("pretrain", {"epochs": 3}),
        ("finetune/composed", {"optimizer.lr": learning_rate, "finetune.batch_size": 8}),
        ("finetune/text-only", {"optimizer.lr": 0.5}),
    ):
        run = tracking.start(step, params=params)
        run.finish()
        made_by[step] = run.run_id
        (place / "steps" / f"{step}.json").write_json({"state": "done", "mlflow_run": run.run_id})
    pipeline = tracking.start("pipeline")
    tags = {f"made_by.{step}": run for step, run in made_by.items()}
    run = tracking.start("evaluate", parent_run=pipeline.run_id, params={"depth": 100}, tags=tags)
    run.log_artifact(scores.FILE, (place / scores.FILE).read_bytes())
    run.finish()
    pipeline.finish()
    (place / "steps" / "evaluate.json").write_json({"state": "done", "mlflow_run": run.run_id})
    return queries


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> tuple[Place, Place]:
    folder = tmp_path_factory.mktemp("compared")
    first, second = Place(folder / "first"), Place(folder / "second")
    world(first, 0.001, 0.0)
    world(second, 0.01, 0.05)
    return first, second


def invoke(*words: str) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(commands, ["runs", "compare", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_two_roots(roots, tmp_path):
    first, second = map(str, roots)
    output = invoke(first, second, "--csv", str(tmp_path / "c.csv"), "--html", str(tmp_path / "c.html"))
    assert "finetune.optimizer.lr: 0.001 | 0.01" in output
    assert "finetune.batch_size" not in output  # the same in both
    assert "pretrain.epochs" not in output
    rows = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert [row["run"] for row in rows] == [first, second]
    assert (rows[0]["difference"], rows[0]["p"]) == ("", "")
    assert float(rows[1]["difference"]) == pytest.approx(5.0, abs=1e-4)
    assert float(rows[1]["low"]) == pytest.approx(5.0, abs=1e-4)
    assert float(rows[1]["p"]) < 0.001
    assert rows[1]["param:finetune.optimizer.lr"] == "0.01"
    page = (tmp_path / "c.html").read_text()
    assert "finetune.optimizer.lr" in page
    assert "&lt; 0.001" in page
    assert not re.search(r"(src|href)=", page)


def test_the_numbers_are_the_tests(roots, tmp_path):
    root = str(roots[0])
    invoke(root, f"{root}:text-only", "--metric", "R@1", "--csv", str(tmp_path / "c.csv"))
    row = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))[1]
    one, other = (scores.read((roots[0] / scores.FILE).read_bytes(), name, "") for name in ("text-only", "composed"))
    expected = paired(one.values["R@1"], other.values["R@1"], one.clusters)
    assert float(row["difference"]) == pytest.approx(100 * expected.mean)
    assert float(row["p"]) == pytest.approx(expected.p)
    assert row["param:finetune.optimizer.lr"] == "0.5"


def test_mlflow_runs_as_the_folder_that_they_came_from(roots):
    """By name, by pipeline, by the first letters of the id; parameters through the tags `made_by.*`."""
    root = str(roots[1])
    client = tracking_on(roots[1]).server().client
    (run,) = [
        each
        for each in client.search_runs([client.get_experiment_by_name("covr").experiment_id])
        if each.info.run_name == "evaluate"
    ]
    for name in ("evaluate", "pipeline", run.info.run_id, run.info.run_id[:10]):
        output = invoke(str(roots[0]), name, "--out", root)
        assert "+5.0" in output
        assert "finetune.optimizer.lr: 0.001 | 0.01" in output
    assert "finetune.optimizer.lr: 0.001 | 0.5" in invoke(str(roots[0]), "evaluate:text-only", "--out", root)


def test_other_queries_are_not_compared(roots, tmp_path):
    first = roots[0]
    queries = Queries.read(first, "test")
    other = Place(tmp_path / "other")
    few = queries.without(frozenset({queries.triplets["query_clip"][0].as_py()}))
    rows = {"composed": Scores(values={"mAP@10": np.zeros(len(few))})}
    (other / scores.FILE).write_bytes(scores.write(rows, few))
    output = invoke(str(first), str(other))
    assert "other queries: not compared" in output


def test_mistakes(roots, tmp_path):
    root = str(roots[0])
    for words, reason in (
        ((root,), "one run cannot be compared"),
        ((root, f"{root}:nothing"), "there is no row 'nothing'"),
        ((root, str(tmp_path)), "there are no scores"),
        ((root, root, "--metric", "mAP@5"), "no metric 'mAP@5'"),
        ((root, "no-such-run", "--out", root), "no such folder, and no such run"),
        ((root, "pretrain", "--out", root), "this run evaluated nothing"),
        ((root, "no-such-run", "--out", str(tmp_path)), "no runs are tracked here"),
        ((root, "x", "--uri", "http://127.0.0.1:9"), "gives no runs"),
    ):
        with pytest.raises(UserError, match=reason):
            invoke(*words)


def test_two_runs_of_one_name_are_told_apart_by_id(roots):
    tracking_on(roots[0]).start("evaluate").finish()
    with pytest.raises(UserError, match=r"2 runs have this name.*give one of their ids"):
        invoke("evaluate", "evaluate", "--out", str(roots[0]))


def test_an_option_before_the_subcommand_is_not_ignored():
    with pytest.raises(UserError, match="write it behind compare"):
        CliRunner().invoke(commands, ["runs", "--out", "/tmp", "compare", "a", "b"], catch_exceptions=False)
