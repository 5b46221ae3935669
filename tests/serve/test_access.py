"""Keys, scopes and limits, on the routes' own application without a cluster behind it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from covr.errors import UserError
from covr.storage import Place
from serve import problems
from serve.access import Access, needed_scope
from serve.keys import Keys, make
from serve.limiter import Rate
from serve.metrics import Metrics
from serve.observe import Observed

QUERY, QUERY_KEY = make("press", ["query"])
ADMIN, ADMIN_KEY = make("desk", ["admin"])
OLD, OLD_KEY = make("gone", ["query"], datetime.now(UTC) - timedelta(seconds=1))
KEYS = Keys([QUERY_KEY, ADMIN_KEY, OLD_KEY])


def application(keys=KEYS, rate=None, max_in_flight=10, audit=None) -> FastAPI:
    api = FastAPI()
    problems.install(api)
    api.add_middleware(Access, keys=keys, rate=rate, max_in_flight=max_in_flight)
    api.add_middleware(Observed, metrics=Metrics(), audit=audit)

    @api.get("/healthz")
    @api.post("/v1/search")
    @api.delete("/v1/clips/{clip_id}")
    async def answer() -> str:
        await asyncio.sleep(0.05)
        return "answered"

    return api


def ask(api: FastAPI, *requests: tuple[str, str, str | None]) -> list[httpx.Response]:
    """All at once."""

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(api)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            sent = [
                client.request(method, path, headers={"Authorization": f"Bearer {key}"} if key else {})
                for method, path, key in requests
            ]
            return await asyncio.gather(*sent)

    return asyncio.run(all_of_them())


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("POST", "/v1/search", QUERY, 200),
        ("GET", "/healthz", None, 200),
        ("POST", "/v1/search", None, 401),
        ("POST", "/v1/search", "", 401),
        ("POST", "/v1/search", QUERY[:-1], 401),
        ("POST", "/v1/search", QUERY + "x", 401),
        ("POST", "/v1/search", QUERY_KEY.sha256, 401),
        ("POST", "/v1/search", OLD, 401),
        ("POST", "/v1/search", ADMIN, 403),
        ("DELETE", "/v1/clips/a", QUERY, 403),
        ("POST", f"/v1/search?key={QUERY}", None, 400),
        ("POST", f"/v1/search?access_token={QUERY}", QUERY, 400),
        ("GET", "/nowhere", None, 401),
    ],
)
def test_who_may_do_what(method, path, key, status):
    (response,) = ask(application(), (method, path, key))
    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)
    if status != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert QUERY not in response.text


@pytest.mark.parametrize("scheme", ["Basic", "bearer ", "Bearer\u00a0"])
def test_another_scheme_or_padding_is_no_key(scheme):
    async def once() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application()), base_url="http://x") as client:
            return await client.post("/v1/search", headers=[(b"authorization", f"{scheme} {QUERY}".encode())])

    assert asyncio.run(once()).status_code == 401


def test_scopes_by_route():
    assert needed_scope("POST", "/v1/clips") == needed_scope("DELETE", "/v1/clips/a") == "ingest"
    assert needed_scope("GET", "/v1/clips/a") == needed_scope("POST", "/v1/search") == "query"
    assert needed_scope("POST", "/v1/admin/reload") == needed_scope("GET", "/metrics") == "admin"


def test_more_at_once_than_allowed_are_told_when_to_come_again():
    responses = ask(application(keys=None, max_in_flight=3), *[("POST", "/v1/search", None)] * 8)
    assert sorted(response.status_code for response in responses) == [200] * 3 + [429] * 5
    assert {r.headers.get("retry-after") for r in responses if r.status_code == 429} == {"1"}


def test_the_rate_is_each_keys_own():
    other, entry = make("other", ["query"])
    api = application(keys=Keys([QUERY_KEY, entry]), rate=Rate(0.1, burst=2))
    responses = ask(api, *[("POST", "/v1/search", QUERY)] * 4, ("POST", "/v1/search", other))
    assert [response.status_code for response in responses] == [200, 200, 429, 429, 200]
    assert 1 <= int(responses[2].headers["retry-after"]) <= 10


def test_tokens_come_back_with_time():
    now = 0.0
    rate = Rate(2.0, burst=1, clock=lambda: now)
    assert rate.take("a") == 0
    assert rate.take("a") == pytest.approx(0.5)
    now = 0.5
    assert rate.take("a") == 0
    now = 100.0
    assert [rate.take("a") == 0 for _ in range(2)] == [True, False]  # no more than the burst is saved up


def test_the_audit_log_has_who_and_what_but_no_key_and_no_query(tmp_path):
    log = tmp_path / "audit.jsonl"
    ask(application(audit=log), ("POST", "/v1/search", QUERY))
    ask(application(audit=log), ("POST", f"/v1/search?token={QUERY}", None))
    first, second = map(json.loads, log.read_text().splitlines())
    assert (first["caller"], first["method"], first["path"], first["status"]) == ("press", "POST", "/v1/search", 200)
    assert (second["caller"], second["status"]) == (None, 400)
    assert QUERY not in log.read_text()


def new_key(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "serve.newkey", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_key_is_made_added_and_found(tmp_path):
    file = tmp_path / "keys.json"
    made = [new_key(str(file), name, "query", "ingest", "--days", "1") for name in ("press", "desk", "press")]
    assert [each.returncode for each in made] == [0, 0, 1]
    assert "a key of that name" in made[2].stderr
    keys = Keys.read(Place(file))
    found = keys.find(made[1].stdout.strip())
    assert (found.name, found.scopes) == ("desk", ["query", "ingest"])
    assert made[0].stdout.strip() not in file.read_text()


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}', '{"keys": [{"name": "a", "sha256": "b", "scopes": []}]}'])
def test_what_is_no_file_of_keys_is_refused(tmp_path, text):
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(UserError, match="not a file of keys"):
        Keys.read(Place(tmp_path / "keys.json"))
