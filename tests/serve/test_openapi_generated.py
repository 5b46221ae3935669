"""Requests generated from the served OpenAPI, sound ones and broken ones: no 500, no answer outside the schema."""

from __future__ import annotations

from collections import Counter

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
from small_root import build_root, small_retriever

from covr.storage import Place
from serve.app import app
from serve.settings import Settings

CHECKS = [
    not_a_server_error,
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


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(150, marks=[pytest.mark.drill, pytest.mark.ci_slice]),
        pytest.param(3000, marks=[pytest.mark.load]),
    ],
)
def test_no_answer_is_outside_the_schema(own, wanted):
    schema = schemathesis.openapi.from_url(f"{own}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    given_something = [each for each in operations if each.body or each.path_parameters or each.query]
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
            case.validate_response(response, checks=CHECKS)

        ask()

    for operation in operations:
        if operation not in given_something:
            send(operation, GenerationMode.POSITIVE, 1)
    each = -(-wanted // (2 * len(given_something)))
    for operation in given_something:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            send(operation, mode, each)
    for (label, status), count in sorted(statuses.items()):
        print(f"{label:40} {status} {count:5}")
    assert sum(statuses.values()) >= wanted * 0.95
    assert {status for _, status in statuses} >= {200, 404, 422}
