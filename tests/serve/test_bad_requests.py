"""What must be refused beside `test_hostile`: as a problem that names neither paths nor code, with its status."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from make_videos import make_corrupt, make_video
from small_root import TEXT


@pytest.fixture(scope="module")
def http(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def refused(response: httpx.Response, status: int, root: str = "/") -> dict:
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:covr:problem:")
    assert problem["request_id"] == response.headers["x-request-id"]
    for leak in ("Traceback", "site-packages", ".py", "tmp", "0x"):
        assert leak not in json.dumps({key: value for key, value in problem.items() if key != "request_id"})
    return problem


def query(**changes: object) -> dict:
    return {"clip_id": "a", "text": TEXT, "k": 5} | changes


JSON_BODIES = {
    "blank body": (b"  \n", 422),
    "cut short": (b'{"clip_id": "a"', 400),
    "not JSON": (b"clip_id=a&text=b", 400),
    "an array": (b"[]", 422),
    "a number": (b"5", 422),
    "k of a thousand digits": (json.dumps(query()).replace("5}", "9" * 1000 + "}").encode(), 422),
}


@pytest.mark.parametrize("name", JSON_BODIES)
def test_a_body_that_is_no_query(http, name):
    body, status = JSON_BODIES[name]
    refused(http.post("/v1/search", content=body, headers={"content-type": "application/json"}), status)


FIELDS = {
    "k 0": (query(k=0), "k"),
    "k negative": (query(k=-1), "k"),
    "k over the limit": (query(k=1001), "k"),
    "k a billion": (query(k=10**9), "k"),
    "k as text": (query(k="5"), "k"),
    "k true": (query(k=True), "k"),
    "k null": (query(k=None), "k"),
    "k a fraction": (query(k=1.5), "k"),
    "text empty": (query(text=""), "text"),
    "text blank": (query(text=" \t\n "), "text"),
    "text a number": (query(text=5), "text"),
    "text of a megabyte": (query(text="x" * (1 << 20)), "text"),
    "clip id empty": (query(clip_id=""), "clip_id"),
    "clip id a list": (query(clip_id=["a"]), "clip_id"),
    "clip id endless": (query(clip_id="a" * 2000), "clip_id"),
    "unknown field": (query(filters={}), "filters"),
    "neither text nor clip": ({"k": 5}, ""),
    "filter empty": (query(filter={}), "filter"),
    "filter on a hidden column": (query(filter={"field": "uri", "equal": "x"}), "filter.equal.field"),
    "filter of another type": (query(filter={"field": "fps", "equal": "x"}), "filter.equal"),
    "exclude endless": (query(exclude=["x"] * 1001), "exclude"),
    "cursor made up": (query(cursor="10"), "cursor"),
    "cursor of another query": (query(cursor=f"{'0' * 16}-{'0' * 16}-10"), "cursor"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_wrong_is_named(http, name):
    body, field = FIELDS[name]
    problem = refused(http.post("/v1/search", json=body), 422)
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("clip_id", ["no such clip", "../../etc/passwd", "a/../b", "A", "a\x00", "file:///etc/passwd"])
def test_an_unknown_clip_id(http, clip_id):
    assert refused(http.post("/v1/search", json=query(clip_id=clip_id)), 404)["type"].endswith("unknown-clip")


@pytest.mark.parametrize("route", ["/v1/clips", "/media", "/thumbnail"])
@pytest.mark.parametrize("name", ["nope", "..%2F..%2Fetc%2Fpasswd", "%00", "%2Fetc%2Fpasswd", "%FF%FE"])
def test_an_unknown_clip_on_every_route(http, route, name):
    assert refused(http.get(f"{route}/{name}"), 404)["type"].endswith("unknown-clip")


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [
        ("GET", "/v1/search", 405),
        ("PUT", "/v1/search", 405),
        ("TRACE", "/healthz", 405),
        ("PATCH", "/v1/clips/a", 405),
        ("DELETE", "/v1/clips/nope", 404),
        ("POST", "/media/a", 405),
        ("GET", "/v2/search", 404),
        ("GET", "/", 404),
    ],
)
def test_routes_and_methods_that_there_are_not(http, method, route, status):
    refused(http.request(method, route), status)


def test_a_range_outside_the_file(http, served):
    response = http.get("/media/a", headers={"Range": "bytes=999999999-"})
    refused(response, 416)
    assert response.headers["content-range"] == f"bytes */{served.media('a').stat().st_size}"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_other_kinds_of_body(http, kind):
    refused(http.post("/v1/search", content=b"clip_id=a", headers={"content-type": kind}), 415)


def test_a_compressed_body(http):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused(http.post("/v1/search", content=b"\x1f\x8b" + bytes(100), headers=headers), 415)


def raw(url: str, head: str) -> bytes:
    """The start of what the server answers to a request of which only the head is sent."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        return connection.recv(65536)


def test_a_body_over_the_limit_is_refused_before_it_is_sent(url):
    head = f"POST {urlsplit(url).path}/v1/search HTTP/1.1\nHost: x\nContent-Type: application/json\n"
    assert raw(url, f"{head}Content-Length: {200 << 20}\n\n").startswith(b"HTTP/1.1 413 ")


def test_a_body_without_length_is_counted(url):
    address = urlsplit(url)
    head = f"POST {address.path}/v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent_mib = 0
        while sent_mib < 1000 and not select.select([connection], [], [], 0.01)[0]:
            connection.sendall(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
            sent_mib += 1
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
        assert 64 < sent_mib < 200


@pytest.mark.parametrize("length", ["ten", "-5", "1e3"])
def test_a_length_that_is_no_number(url, length):
    head = f"POST {urlsplit(url).path}/v1/search HTTP/1.1\nHost: x\nContent-Length: {length}\n\n"
    assert raw(url, head).startswith(b"HTTP/1.1 400 ")


def test_a_long_header_harms_nothing(http):
    assert http.get("/healthz", headers={"X-Long": "a" * 10_000}).status_code == 200


def mjpeg(path: Path) -> Path:
    return make_video(path, codec="mjpeg", pixels="yuvj420p")


FILES = {
    "a playlist": (lambda _: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "not-a-video"),
    "a list of files": (lambda _: b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "not-a-video"),
    "a damaged picture": (lambda _: b"\xff\xd8\xff\xe0" + bytes(1000), 422, "corrupt"),
    "a codec that is not read": (mjpeg, 415, "no-video-stream"),
    "noise from 40% on": (lambda path: make_corrupt(path, num_frames=90), 422, "corrupt"),
    "longer than allowed": (lambda path: make_video(path, num_frames=302, fps=1), 422, "over-limit"),
}


def content(make: Callable[[Path], bytes | Path], path: Path) -> bytes:
    made = make(path)
    return made.read_bytes() if isinstance(made, Path) else made


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_video(http, tmp_path, name):
    make, status, reason = FILES[name]
    response = http.post(
        "/v1/search", files={"video": ("clip.mp4", content(make, tmp_path / "clip.mp4"))}, data={"text": TEXT}
    )
    assert refused(response, status)["type"] == f"urn:covr:problem:{reason}"


FORMS = {
    "no video": ({"text": "x"}, {}, 422, "video"),
    "video as a text": ({"text": "x", "video": "clip.mp4"}, {}, 422, "video"),
    "filter not JSON": ({"text": "x", "filter": "{"}, {"video": b"x"}, 422, "filter"),
    "blank text": ({"text": "  "}, {"video": b"x"}, 422, "text"),
    "long text": ({"text": "x" * 2001}, {"video": b"x"}, 422, "text"),
    "very long text": ({"text": "x" * 100_000}, {"video": b"x"}, 422, "text"),
    "k no number": ({"text": "x", "k": "five"}, {"video": b"x"}, 422, "k"),
    "k over the limit": ({"text": "x", "k": "1001"}, {"video": b"x"}, 422, "k"),
    "unknown field": ({"text": "x", "clip_id": "a"}, {"video": b"x"}, 422, "clip_id"),
    "a second file": ({"text": "x"}, {"video": b"x", "other": b"x"}, 422, "other"),
    "a field twice": ({"text": ["x", "y"]}, {"video": b"x"}, 422, "text"),
    "ten thousand parts": ({f"f{n}": "x" for n in range(10_000)}, {"video": b"x"}, 413, None),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_no_query(http, name):
    data, files, status, field = FORMS[name]
    sent = {key: ("clip.mp4", value) for key, value in files.items()} or {"": ("", b"")}
    response = http.post("/v1/search", data=data, files=sent if files else [("text", (None, data.pop("text")))])
    problem = refused(response, status)
    assert [error["field"] for error in problem["errors"]] == ([field] if field else [])


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=b"])
def test_a_form_that_is_malformed(http, kind):
    refused(http.post("/v1/search", content=b"--x\r\nnothing", headers={"content-type": kind}), 400)
