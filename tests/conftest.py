"""Fixtures that several rooms share: one small Ray cluster for the whole test run."""

from __future__ import annotations

import os
import shutil

# Before Ray, torch or MLflow are imported by any test: two cores are shared by every process of the run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")

import pytest
import ray
from hypothesis import HealthCheck, settings

from serve.address import free_port

# A shared machine is slow at times; that is no fault of the code under test.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def ray_cluster():
    """A real local Ray cluster of four logical CPUs, shared by the whole test run."""
    if not ray.is_initialized():
        # With its dashboard, as clusters have: without, what a killed driver's training held stays held for ever.
        options = {"include_dashboard": True, "dashboard_port": free_port("127.0.0.1", 0)}
        ray.init(address="local", num_cpus=4, object_store_memory=300 << 20, log_to_driver=False, **options)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, else the one that `playwright install chromium` fetched."""
    from playwright.sync_api import sync_playwright  # of the extra `browser`

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
