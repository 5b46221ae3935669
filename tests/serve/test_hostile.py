"""Hostile requests and files, each with its stated answer, and no memory kept of them."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import psutil
import pytest
from hostile_requests import QUERY, REQUESTS, Endpoint
from hostile_videos import VIDEOS
from make_videos import make_long
from ray import serve as ray_serve
from small_root import TEXT, build_root, small_retriever

from covr.storage import Place
from serve.app import app
from serve.keys import make
from serve.settings import Settings

AT_ONCE = 8


@pytest.fixture(scope="module")
def endpoint(url, tmp_path_factory) -> Endpoint:
    """One behind keys, of clips that may be changed."""
    root = Place(tmp_path_factory.mktemp("keyed"))
    build_root(root, small_retriever())
    keys = {
        "query": make("press", ["query", "admin"]),
        "ingest": make("desk", ["ingest"]),
        "expired": make("gone", ["query"], datetime.now(UTC) - timedelta(days=1)),
    }
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    Place(file).write_json({"keys": [json.loads(key.model_dump_json()) for _, key in keys.values()]})
    settings = Settings(root=str(root), keys=str(file), max_in_flight=AT_ONCE)
    ray_serve.run(app(settings), name="keyed", route_prefix="/keyed")
    yield Endpoint(url=url.replace("/retrieval", "/keyed"), **{name: secret for name, (secret, _) in keys.items()})
    ray_serve.delete("keyed")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("hostile")
    return {name: make(folder / f"{number}.mp4") for number, (_, name, make, _, _) in enumerate(VIDEOS)}


@pytest.mark.parametrize(
    ("number", "name", "send", "status"), REQUESTS, ids=[f"{n}-{name}" for n, name, *_ in REQUESTS]
)
def test_a_request(endpoint, number, name, send, status):
    answer = send(endpoint)
    assert status_of(answer) == status
    if isinstance(answer, httpx.Response) and status != 200 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"


def status_of(answer: httpx.Response | int) -> int:
    return answer if isinstance(answer, int) else answer.status_code


def send_file(endpoint: Endpoint, content: bytes) -> httpx.Response:
    headers = {"Authorization": f"Bearer {endpoint.query}"}
    sent = {"files": {"video": ("clip.mp4", content)}, "data": {"text": TEXT}}
    return httpx.post(f"{endpoint.url}/v1/search", headers=headers, timeout=60, **sent)


@pytest.mark.parametrize(("number", "name", "make", "status", "word"), VIDEOS, ids=[f"{v[0]}-{v[1]}" for v in VIDEOS])
def test_a_file(endpoint, files, number, name, make, status, word):
    answer = send_file(endpoint, files[name])
    assert answer.status_code == status, answer.text
    if word:
        assert answer.json()["type"] == f"urn:covr:problem:{word}"
    else:
        assert answer.json()["results"]


def in_flight(endpoint: Endpoint) -> float:
    headers = {"Authorization": f"Bearer {endpoint.query}"}
    lines = httpx.get(f"{endpoint.url}/metrics", headers=headers).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("covr_requests_in_flight ")) - 1  # its own


def test_16_a_client_that_leaves_is_worked_for_no_longer(endpoint, tmp_path):
    """A long decode is given up, and the clip that is sent next does not wait for it."""
    content = make_long(tmp_path / "long.mp4", repeats=100).read_bytes()
    send_file(endpoint, b"")  # the decode process is there
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{endpoint.url}/v1/search",
            headers={"Authorization": f"Bearer {endpoint.query}"},
            files={"video": ("clip.mp4", content)},
            data={"text": TEXT},
            timeout=httpx.Timeout(60, read=0.7),
        )
    deadline = time.monotonic() + 5
    while in_flight(endpoint) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert in_flight(endpoint) == 0


def test_17_two_hundred_at_once_are_answered_or_told_to_come_again(endpoint):
    def ask(_: int) -> httpx.Response:
        return http.post(f"{endpoint.url}/v1/search", json=QUERY)

    limits, headers = httpx.Limits(max_connections=200), {"Authorization": f"Bearer {endpoint.query}"}
    with httpx.Client(limits=limits, headers=headers, timeout=60) as http, ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(ask, range(200)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} <= {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(answers) - len(refused) >= AT_ONCE


def resident_mib() -> float:
    """Of the replicas below this process's Ray, and of their decode processes; shared pages count once."""
    found = 0
    for process in psutil.Process(os.getpid()).children(recursive=True):
        if "ServeReplica" in (name := " ".join(process.cmdline())) or "covr.clips.child" in name:
            found += process.memory_full_info().uss
    return found / 2**20


@pytest.mark.load
@pytest.mark.timeout(1800)
def test_memory_is_back_after_five_hundred(endpoint, files):
    def round_of_all() -> int:
        for _, name, send, status in REQUESTS:
            assert status_of(send(endpoint)) == status, name
        for _, name, _, status, _ in VIDEOS:
            assert send_file(endpoint, files[name]).status_code == status, name
        return len(REQUESTS) + len(VIDEOS)

    for _ in range(3):  # what is kept of the first is kept once
        round_of_all()
    before, sent = resident_mib(), 0
    assert before > 100  # the processes were found
    while sent < 500:
        sent += round_of_all()
    grown = resident_mib() - before
    print(f"{sent} hostile requests: {before:.0f} MiB before, {grown:+.1f} MiB after")
    assert grown < 0.03 * before
