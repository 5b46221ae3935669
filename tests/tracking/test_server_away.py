"""A real tracking server that dies during a run and comes back."""

from __future__ import annotations

import shutil
import time

import pytest
from mlflow_root import tracking_on
from team_services import TrackingServer

from covr.storage import Place
from covr.tracking import Journal


@pytest.fixture
def server(tmp_path, migrated):
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    server = TrackingServer(folder)
    yield server
    server.kill()


def test_killed_during_a_run_and_back_later(server, tmp_path, capsys):
    """Metrics, tags, artifacts, the nesting and the champion are all there once, in the run that had begun."""
    root = Place(tmp_path / "root")
    server.start()
    pipeline = tracking_on(root, server.uri).start("pipeline")
    run = tracking_on(root, server.uri).start("pretrain", parent_run=pipeline.run_id)
    known = run.run_id
    for step in range(50):
        run.log_metrics({"loss": 1.0 / (step + 1)}, step)
    run._sender._attempt(run.journal)
    server.kill()

    begin = time.monotonic()
    for step in range(40, 100):
        run.log_metrics({"loss": 1.0 / (step + 1)}, step)
    run.log_artifact("confusion.json", b"[1]")
    run.set_tags({"protocol": "both"})
    (root / "retrievers" / "composed" / "config.json").write_json({})
    run.register(root / "retrievers" / "composed", metric="mAP@10", value=50.0, gallery="g")
    run.finish("FINISHED")
    away = tracking_on(root, server.uri).start("embed", parent_run=pipeline.run_id, params={"a": 1})
    away.log_metrics({"rows": 7}, 0)
    away.log_dataset("motions", digest="d" * 32, source="/data/tables", rows={"clips": 9}, context="embed")
    away.finish("FINISHED")
    below = tracking_on(root, server.uri).start("finetune", parent_run=away.run_id)
    below.finish("FINISHED")
    assert time.monotonic() - begin < 20  # nobody waits for a server
    assert run.run_id == known
    assert away.run_id == away.journal.key
    assert "kept and sent later" in capsys.readouterr().out

    server.start()
    again = tracking_on(root, server.uri)
    later = again.start("index", parent_run=pipeline.run_id)
    later.finish("FINISHED")
    pipeline.finish("FINISHED")

    client = again.server().client
    points = sorted((point.step, point.value) for point in client.get_metric_history(known, "loss"))
    assert points == [(step, 1.0 / (step + 1)) for step in range(100)]
    found = client.get_run(known)
    assert (found.info.status, found.data.tags["protocol"]) == ("FINISHED", "both")
    names = {artifact.path for artifact in client.list_artifacts(known)}
    assert names == {"confusion.json", "retriever"}
    assert client.get_model_version_by_alias("covr", "champion").run_id == known
    experiment = client.get_experiment_by_name("covr").experiment_id
    runs = {each.info.run_name: each for each in client.search_runs([experiment])}
    assert sorted(runs) == ["embed", "finetune", "index", "pipeline", "pretrain"]
    parents = {name: each.data.tags.get("mlflow.parentRunId") for name, each in runs.items()}
    top, embed = runs["pipeline"].info.run_id, runs["embed"].info.run_id
    assert parents == {"pipeline": None, "pretrain": top, "embed": top, "finetune": embed, "index": top}
    assert runs["embed"].data.metrics == {"rows": 7.0}
    assert [used.dataset.name for used in runs["embed"].inputs.dataset_inputs] == ["motions"]
    assert all(each.info.status == "FINISHED" for each in runs.values())
    assert not any(journal.unsent()[0] for journal in Journal.all(root))
