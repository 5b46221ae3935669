"""The runs of a pipeline in MLflow's own pages, in a real headless browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from time import sleep

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
TRAINING = "workflowType=machine_learning"  # the pages for trained models, not those for prompts and traces


@pytest.fixture
def ui(root, tracking):
    """`mlflow ui` on the database of a storage root with a pipeline and its steps, as docs/operations.md says."""
    pipeline = tracking.start("pipeline", params={"seed": 1})
    for number, name in enumerate(("pretrain", "finetune/composed", "finetune/text-only", "evaluate")):
        run = tracking.start(name, parent_run=pipeline.run_id, params={"batch_size": 8 * (number + 1)})
        for step in range(1, 20):
            run.log_metrics({"loss": (number + 1) / step, "mAP@10": 3.0 * step}, step)
        if name == "evaluate":
            run.log_artifact("report.html", b"<!doctype html><h1>Composed video retrieval on motions</h1>")
        run.finish()
    pipeline.finish()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking.uri, "--port", str(port)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        [*command, "--workers", "1"],
        env=environment,
        cwd=root.local(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            break
        except OSError:
            sleep(0.2)
    yield f"http://127.0.0.1:{port}/#"
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def test_the_runs_line_up(ui, client, browser):
    experiment = client.get_experiment_by_name("covr").experiment_id
    runs = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
    context = browser.new_context(viewport={"width": 1400, "height": 800})
    page = context.new_page()
    page.set_default_timeout(60_000)

    page.goto(f"{ui}/experiments/{experiment}/runs?{TRAINING}&compareRunsMode=CHART")
    box = page.get_by_role("link", name="pipeline").first.bounding_box()
    page.mouse.click(box["x"] - 32, box["y"] + box["height"] / 2)  # unfolds its children
    page.get_by_role("link", name="finetune/text-only").first.wait_for()
    page.get_by_text("loss", exact=True).first.wait_for()  # curves of all runs, by metric
    page.get_by_text("mAP_at_10", exact=True).first.wait_for()

    page.goto(f"{ui}/experiments/{experiment}/runs/{runs['finetune/composed']}?{TRAINING}")
    page.get_by_role("link", name="pipeline").first.wait_for()  # the parent
    page.get_by_text("batch_size", exact=True).first.wait_for()

    page.goto(f"{ui}/experiments/{experiment}/runs/{runs['evaluate']}/artifacts/report.html?{TRAINING}")
    page.frame_locator("iframe").get_by_text("Composed video retrieval on motions").wait_for()
    context.close()
