"""Requests generated from the served OpenAPI, sound ones and broken ones: no 500, no answer outside the schema."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from ray import serve as ray_serve
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from small_root import CLIP_IDS, build_root, small_retriever

from covr.storage import Place
from serve.app import app
from serve.settings import Settings

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def own(url, tmp_path_factory):
    """An endpoint whose clips may be changed."""
    root = Place(tmp_path_factory.mktemp("generated"))
    build_root(root, small_retriever())
    ray_serve.run(app(Settings(root=str(root))), name="generated", route_prefix="/generated")
    yield url.replace("/retrieval", "/generated")
    ray_serve.delete("generated")


def of_known_clips(document: dict[str, Any]) -> dict[str, Any]:
    """The document, but that what it names is there: one clip may be removed, the others are asked for."""
    gone, *there = CLIP_IDS
    document = deepcopy(document)
    for path in document["paths"].values():
        for method, operation in path.items():
            given = [each for each in operation.get("parameters", []) if each["name"] != "retriever"]
            for parameter in given:
                if parameter["name"] == "clip_id":
                    parameter["schema"] = {"enum": [gone] if method == "delete" else there}
            operation["parameters"] = given
    query = document["components"]["schemas"]["SearchQuery"]
    for name in ("video_url", "cursor", "retriever"):
        del query["properties"][name]
    query["properties"]["clip_id"] = {"enum": there}
    query["required"] = ["clip_id"]
    return document


def given_something(operation: Any) -> bool:
    return bool(operation.body or operation.path_parameters or operation.query)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(150, marks=[pytest.mark.drill, pytest.mark.ci_slice]),
        pytest.param(3000, marks=[pytest.mark.load]),
    ],
)
def test_no_answer_is_outside_the_schema(own, wanted):
    document = httpx.get(f"{own}/openapi.json").json()
    operations, of_known = (
        [result.ok() for result in schemathesis.openapi.from_dict(each).get_all_operations()]
        for each in (document, of_known_clips(document))
    )
    statuses: Counter[tuple[str, int]] = Counter()

    def send(operation, mode: GenerationMode, count: int) -> None:
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            response = case.call(base_url=own, timeout=60)
            statuses[operation.label, response.status_code] += 1
            late = response.status_code == 504 and "X-Request-Timeout" in (case.headers or {})  # as short as 5e-324 s
            case.validate_response(response, checks=CHECKS if late else [not_a_server_error, *CHECKS])

        ask()

    for operation in operations:
        if not given_something(operation):
            send(operation, GenerationMode.POSITIVE, 1)
    rounds = [
        (operation, mode)
        for mode, found in (
            (GenerationMode.POSITIVE, of_known),
            (GenerationMode.POSITIVE, operations),
            (GenerationMode.NEGATIVE, operations),
        )
        for operation in found
        if given_something(operation)
    ]
    for left, (operation, mode) in zip(range(len(rounds), 0, -1), rounds, strict=True):
        share = -(-(wanted - statuses.total()) // left)  # of the known ids there are few requests: the others make up
        send(operation, mode, max(1, share))
    for (label, status), count in sorted(statuses.items()):
        print(f"{label:40} {status} {count:5}")
    assert sum(statuses.values()) >= wanted * 0.95
    assert {status for _, status in statuses} >= {404, 422}
    answered = {label for (label, status), count in statuses.items() if status == 200}
    assert answered >= {each.label for each in of_known} - {"POST /v1/clips"}  # its 201 needs a video
