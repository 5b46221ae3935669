"""The whole table on tiny random weights: every row's YAML through every step, and what the table says of them."""

from __future__ import annotations

from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from covr.config.compose import compose
from covr.errors import UserError
from covr.evaluate import scores
from covr.evaluate.significance import paired
from covr.job import Job
from covr.report.compare import compare
from covr.storage import TableStore
from covr.table.job import OUTPUTS, command, make_table
from covr.table.rows import ABLATION, FROM_ONE_START, PUBLISHED, rows_of, weights_of
from covr.tracking.evaluated import evaluated


def test_every_row_is_there_by_its_name(root, results):
    measured = {row["row"]: row for row in results["rows"] if "metrics" in row}
    assert set(measured) == {*FROM_ONE_START, *ABLATION, "chance"}
    for name, row in measured.items():
        low, high = row["interval"]["mAP@10"]
        assert 0 <= low <= row["metrics"]["mAP@10"] <= high <= 100
        assert row["seeds"]["0"] == pytest.approx(row["metrics"]["mAP@10"], abs=1e-5)
        assert name == "chance" or row["cost"]["device_seconds"] > 0
    assert (root / "results.json").read_json()["rows"] == results["rows"]
    for name in OUTPUTS:
        assert (root / name).exists()


def test_rows_without_weights_say_so_and_the_table_goes_on(results):
    says = {row["row"]: row["says"] for row in results["rows"] if "says" in row}
    assert set(says) == set(PUBLISHED) - set(FROM_ONE_START)
    for name, said in says.items():
        assert said.startswith("weights not found: give model."), name


def test_a_published_row_is_another_one_on_other_data():
    assert {row.name: row.model for row in rows_of("motions", ["ecde"])} == {"ecde": "motions/ecde"}
    assert {row.name: row.model for row in rows_of("webvid-covr", ["ecde"])} == {"ecde": "ecde"}
    with pytest.raises(UserError, match="no row 'mine'"):
        rows_of("motions", ["mine"])
    with pytest.raises(UserError, match=r"write rows=\[ours\]"):
        rows_of("motions", "ours")


def test_weights_are_given_by_row():
    """Hydra refused them as an option that there is not."""
    given = "table.weights={blip-covr: w.ckpt, ecde: {model.ckpt.path: e.ckpt, model.ckpt.video: v.pt}}"
    cfg = compose([given])
    assert weights_of(cfg, "blip-covr") == {"model.ckpt.path": "w.ckpt"}
    assert weights_of(cfg, "ecde") == {"model.ckpt.path": "e.ckpt", "model.ckpt.video": "v.pt"}
    assert weights_of(cfg, "covr2") == weights_of(compose(), "covr2") == {}


def test_rows_share_the_features_of_their_encoder(root):
    """One video encoder and one frame encoder, whatever the number of rows."""
    assert len((root / "features").list()) == 2


def test_one_mlflow_run_a_row_under_one_parent(root, job, results):
    server = job.tracking.server()
    experiment = server.client.get_experiment_by_name(server.experiment).experiment_id
    runs = server.client.search_runs([experiment], max_results=1000)
    (parent,) = [run for run in runs if run.info.run_name == "table"]
    named = {run.info.run_name: run for run in runs if run.info.run_name.startswith("table/")}
    assert set(named) == {f"table/{row}" for row in (*FROM_ONE_START, *ABLATION)}
    for run in named.values():
        assert run.data.tags[MLFLOW_PARENT_RUN_ID] == parent.info.run_id
        assert run.data.metrics["cost/device_seconds"] > 0


def test_the_same_again_trains_nothing(root, job, results, capsys):
    before = {row["row"]: row for row in results["rows"]}
    again = make_table(job)
    said = capsys.readouterr().out
    assert "finetune/ours: up to date" in said
    assert "done in" not in said
    assert {row["row"]: row for row in again["rows"]} == before


def test_any_two_rows_are_tested_against_each_other(root, results):
    file = root / scores.FILE
    one, other = (scores.read(file.read_bytes(), row, "x") for row in ("ours", "tf-covr-base"))
    (effect,) = [each for each in results["effects"] if each["row"] == "ours" and each["over"] == "tf-covr-base"]
    gap = 100 * (one.values["mAP@10"].mean() - other.values["mAP@10"].mean())
    assert effect["difference"] == pytest.approx(gap, abs=1e-4)
    test = paired(one.values["mAP@10"], other.values["mAP@10"], one.clusters, 2000)
    assert effect["interval"] == pytest.approx([100 * bound for bound in test.interval], abs=1e-3)
    measured = sum("metrics" in row for row in results["rows"])
    assert len(results["pairs"]) == measured * (measured - 1) / 2
    lines = compare([evaluated(f"{root}:{row}", lambda: None) for row in ("tf-covr-base", "ours")], "mAP@10")
    assert 100 * lines[1].difference.mean == pytest.approx(gap, abs=1e-4)


def test_filter_and_rerank_orders_the_first_fifteen_by_text(root):
    runs = TableStore(root / "seed-0" / "runs" / "filter-rerank", "runs").read().to_pandas()
    text = TableStore(root / "seed-0" / "runs" / "text-only", "runs").read().to_pandas()
    rank_of = text.set_index(["query_id", "clip_id"])["rank"]
    for query, group in runs.groupby("query_id"):
        group = group.sort_values("rank")
        assert group["stage"].tolist() == ["rerank"] * 15 + ["retrieve"] * (len(group) - 15)
        assert (np.diff(group["score"]) <= 0).all()
        by_text = [rank_of[query, clip] for clip in group["clip_id"][:15]]
        assert by_text == sorted(by_text)


def test_the_pages_name_rows_numbers_and_the_command(root, results):
    text, html = (root / "results.md").read_bytes().decode(), (root / "table.html").read_bytes().decode()
    ours = next(row for row in results["rows"] if row["row"] == "ours")
    for page in (text, unescape(html)):
        assert results["command"] in page
        assert f"{ours['metrics']['mAP@10']:.1f}" in page
        assert "weights not found" in page
    assert "24.23 (TF-CoVR-Base, 12 frames)" in text
    assert "http" not in html.replace("http://www.w3.org", "")


def test_the_command_names_each_option_once(job):
    said = command(replace(job, overrides=("rows=all", "data.size=tiny", "rows=[mlp]")))
    assert said == "python jobs/table.py 'rows=[mlp]' data.size=tiny"


def test_a_mistake_is_no_absent_weight(job):
    with pytest.raises(UserError, match="no row"):
        make_table(Job.from_overrides(["rows=[slurp]", f"out={job.root}"]))
