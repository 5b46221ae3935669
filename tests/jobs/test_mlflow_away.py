"""MLflow is down from start to end of a pipeline: the outcome is a calm run's, and all of it is told later, once."""

from __future__ import annotations

import calm_run
import pytest
from mlflow_root import tracking_on
from team_services import TrackingServer

from covr.storage import Place
from covr.tracking import Journal
from covr.tracking.server import mlflow_name

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    server = TrackingServer(folder)
    yield server
    server.kill()


def test_mlflow_down_from_start_to_end(calm, server, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    uri = f"trainer.logger.uri={server.uri}"
    assert calm_run.pipeline(out, lambda *_: None, uri) == 0, calm_run.said(out)
    assert calm_run.said(out).count("kept and sent later") == 1
    calm_run.assert_same(calm, out)

    server.start()
    assert calm_run.pipeline(out, lambda *_: None, uri) == 0, calm_run.said(out)
    client = tracking_on(Place(out), server.uri).server().client
    found = client.search_runs([client.get_experiment_by_name("covr").experiment_id])
    journals = {journal.run_id: journal for journal in Journal.all(Place(out))}
    assert sorted(run.info.run_id for run in found) == sorted(journals)
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found:
        for key, points in journals[run.info.run_id].curves().items():
            told = client.get_metric_history(run.info.run_id, mlflow_name(key))
            assert sorted((point.step, point.value) for point in told) == sorted(points), f"{run.info.run_name}: {key}"
