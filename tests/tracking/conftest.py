from __future__ import annotations

import shutil

import pytest
from mlflow_root import tracking_on

from covr.storage import Place
from covr.tracking import Tracking


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An MLflow database with nothing in it; making one takes seconds."""
    root = Place(tmp_path_factory.mktemp("migrated"))
    tracking_on(root).server()
    return root.local() / "mlflow.db"


@pytest.fixture
def root(tmp_path, migrated) -> Place:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return Place(tmp_path)


@pytest.fixture
def tracking(root) -> Tracking:
    return tracking_on(root)


@pytest.fixture
def client(tracking):
    return tracking.server().client


@pytest.fixture
def history(client):
    """Steps and values of a metric as MLflow has them."""

    def read(run_id: str, key: str) -> list[tuple[int, float]]:
        return sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))

    return read
