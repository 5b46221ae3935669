"""What is checked, and what is sent, before a job runs on a cluster."""

from __future__ import annotations

import json
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import ray
from ray._private.runtime_env.packaging import create_package
from ray.job_submission import JobStatus

from covr.cluster.follow import status_of
from covr.cluster.jobs import JobServer
from covr.cluster.submit import check_job, checkout, runtime_env
from covr.errors import UserError


def test_code_and_configuration_travel_and_nothing_else(tmp_path):
    env, package = runtime_env(), tmp_path / "package.zip"
    create_package(env["working_dir"], package, include_gitignore=True, excludes=env["excludes"])
    names = zipfile.ZipFile(package).namelist()
    assert {name.split("/")[0] for name in names} == {"platform", "jobs", "serve"}
    assert {"jobs/pipeline.py", "serve/app.py", "platform/covr/config/job.yaml"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or "egg-info" in name]
    shipped = {str(path.relative_to(checkout())) for path in (checkout() / "platform/covr").rglob("*.yaml")}
    assert shipped <= set(names)
    assert package.stat().st_size < 32 << 20


def test_mistakes_are_told_before_anything_is_sent():
    with pytest.raises(UserError, match=r"choose one of .*pipeline"):
        check_job("pipelines", [])
    with pytest.raises(UserError, match=r"did you mean .*data\.size"):
        check_job("ingest", ["data.sise=tiny", "out=s3://b/x"])
    with pytest.raises(UserError, match=r"all its nodes see.*out=out/motions"):
        check_job("ingest", [])
    uri = "trainer.logger.uri=http://mlflow:5000"
    assert check_job("ingest", ["out=s3://bucket/x", uri]) == "http://mlflow:5000"


@pytest.fixture
def job_server(request):
    """An HTTP server that answers as the head of a cluster of the given (Ray, Python) does."""
    ray_version, python_version = request.param

    class Head(BaseHTTPRequestHandler):
        def do_GET(self):
            answers = {
                "/api/version": {"version": "4", "ray_version": ray_version, "ray_commit": "", "session_name": ""},
                "/api/v0/cluster_metadata": {"data": {"rayVersion": ray_version, "pythonVersion": python_version}},
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Head)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("job_server", [("2.9.0", "3.11.9"), (ray.__version__, "3.9.1")], indirect=True)
def test_a_cluster_of_other_versions_is_told_which_image_to_use(job_server, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with pytest.raises(UserError, match=rf"the cluster runs Ray .* needs Ray .*rayproject/ray:{ray.__version__}-py3"):
        JobServer(job_server).check()


@pytest.mark.parametrize("job_server", [(ray.__version__, "3.12.1")], indirect=True)
def test_a_cluster_of_this_ray_will_do(job_server, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    JobServer(job_server).check()


def test_an_address_where_nothing_listens(monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with pytest.raises(UserError, match="no job server answers"):
        JobServer("http://127.0.0.1:9")
    with pytest.raises(UserError, match="give http://HEAD:8265"):
        JobServer("ray://127.0.0.1:10001")
    with pytest.raises(UserError, match="no such file"):
        JobServer("http://127.0.0.1:9", Path("/no/token"))


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", -9, 137), ("FAILED", None, 1), ("STOPPED", None, 130)],
)
def test_exit_status(status, code, expected):
    assert status_of(SimpleNamespace(status=JobStatus(status), driver_exit_code=code)) == expected
