"""Work ends with its caller: at its deadline, or when it hangs up."""

from __future__ import annotations

import re
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from make_videos import make_long, make_video
from small_root import TEXT


@pytest.fixture(scope="module")
def slow_video(tmp_path_factory) -> bytes:
    """Takes seconds to decode."""
    return make_long(tmp_path_factory.mktemp("slow") / "slow.mp4", repeats=150).read_bytes()


def metric(url: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_time_that_is_none_is_refused(url, given):
    answer = httpx.post(f"{url}/v1/search", json={"text": TEXT}, headers={"X-Request-Timeout": given})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:covr:problem:bad-timeout")


def test_a_decode_ends_at_the_callers_deadline(url, slow_video, tmp_path):
    start = time.perf_counter()
    answer = httpx.post(
        f"{url}/v1/search", files={"video": slow_video}, headers={"X-Request-Timeout": "0.5"}, timeout=60
    )
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:covr:problem:timeout")
    assert answer.json()["detail"] == "No answer within 0.5 s."
    begun = time.perf_counter()
    assert begun - start < 5
    # The only decoder is free again at once.
    small = make_video(tmp_path / "small.mp4").read_bytes()
    httpx.post(f"{url}/v1/search", files={"video": small}, timeout=60).raise_for_status()


def test_a_query_that_waited_too_long_is_not_answered(url):
    answer = httpx.post(f"{url}/v1/search", json={"text": TEXT}, headers={"X-Request-Timeout": "0.0001"})
    assert answer.status_code == 504


def test_a_client_that_hangs_up_ends_the_decode(url, slow_video):
    counted = 'covr_requests_total{route="/v1/search",status="499"}'
    before, address = metric(url, counted), urlsplit(url)
    body = b"--b\r\ncontent-disposition: form-data; name=video; filename=v\r\n\r\n" + slow_video + b"\r\n--b--\r\n"
    head = f"POST {address.path}/v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.7)
    deadline = time.monotonic() + 8
    while metric(url, counted) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert metric(url, counted) == before + 1
