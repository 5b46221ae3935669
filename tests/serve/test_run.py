"""Bringing the endpoint up beside others, down again, and what stops it from coming up."""

from __future__ import annotations

import re

import httpx
import pytest
import yaml
from omegaconf import OmegaConf
from ray import serve as ray_serve
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve.schema import ServeDeploySchema
from rich.console import Console
from small_root import TEXT, build_root, options, small_retriever

from covr import tables
from covr.client import Client
from covr.errors import UserError
from covr.job import Job
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from serve.app import app
from serve.demo import first_query
from serve.run import serving, wait_ready
from serve.settings import Settings


def test_another_application_is_never_replaced(url, served):
    with pytest.raises(UserError, match="of that name"), serving(served.root, options(name="covr", route_prefix="/x")):
        pass
    with (
        pytest.raises(UserError, match="/retrieval"),
        serving(served.root, options(name="x", route_prefix="/retrieval")),
    ):
        pass
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert list(ray_serve.status().applications) == ["covr"]


def test_a_damaged_index_leaves_the_service_up_and_unready_with_the_reason(url, tmp_path):
    root = Place(tmp_path)
    snapshot = build_root(root, small_retriever())
    vectors = root / "index" / snapshot.fingerprint / "vectors.faiss"
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"\x00\x01")
    ray_serve.run(app(Settings(root=str(root))), name="damaged", route_prefix="/damaged")
    try:
        damaged = url.replace("/retrieval", "/damaged")
        assert httpx.get(f"{damaged}/healthz").status_code == 200
        for answer in (
            httpx.get(f"{damaged}/readyz"),
            httpx.get(f"{damaged}/v1/clips/a"),
            httpx.post(f"{damaged}/v1/search", json={"clip_id": "a", "text": TEXT}),
            httpx.post(f"{damaged}/v1/search", files={"video": b"x"}, data={"text": TEXT}),
        ):
            assert answer.status_code == 503
            assert answer.json()["detail"] == "Not ready: a part of the index is damaged (vectors.faiss)."
            assert str(tmp_path) not in answer.text
        with pytest.raises(UserError, match=r"damaged \(vectors.faiss\)"):
            wait_ready(damaged)
    finally:
        ray_serve.delete("damaged")


def test_nothing_indexed_is_said_before_anything_starts(tmp_path):
    with pytest.raises(UserError, match=r"jobs/index\.py first"), serving(Place(tmp_path), options()):
        pass


def test_a_wrong_option_is_named(served):
    with pytest.raises(UserError, match=r"serve\.app\.decoders"), serving(served.root, options(app={"decoders": 0})):
        pass


def test_the_demos_query_is_answered_by_an_endpoint_of_its_own_read_from_the_same_disk(url, served):
    triplet = {
        "query_id": "q",
        "query_clip": "a",
        "modifications": [TEXT],
        "target_clips": ["b", "segment"],
        "split": "test",
    }
    store = TableStore(served.root / "tables/triplets", "triplets")
    refused = {**triplet, "query_id": "before", "query_clip": "refused at embed, so not indexed"}
    store.publish(tables.from_rows("triplets", [refused, triplet]), "of these tests")
    job = Job.from_overrides([f"out={served.root}"])
    name = f"first-query-{fingerprint(str(job.root))[:8]}"
    ray_serve.run(app(Settings(root=str(served.root))), name=name, route_prefix=f"/{name}")  # of one that was killed
    console = Console(record=True, width=300)
    console.print(first_query(job))
    shown = console.export_text()
    assert TEXT in shown
    assert "label 0" in shown
    assert shown.count(" yes") == 2
    with Client(url) as client:  # goes on, and says the same
        for result in client.search(clip_id="a", text=TEXT, k=4).results:
            assert re.search(rf"{result.rank} │ +{result.score:.4f} │ {re.escape(result.clip_id)} ", shown)
    assert list(ray_serve.status().applications) == ["covr"]


def test_the_file_for_serve_deploy_is_one_that_ray_takes():
    with open("serve/config.yaml") as file:
        config = ServeDeploySchema.model_validate(yaml.safe_load(file))
    assert config.http_options.host == "127.0.0.1"
    (application,) = config.applications
    assert application.import_path == "serve.app:app"
    call_user_app_builder_with_args_if_necessary(app, application.args)
    given = OmegaConf.to_container(options().app)
    assert set(application.args) <= {"root", *given}
