"""Byte ranges of a file, from local folders and object stores alike."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from covr.storage import Place
from serve.media import file_response, span
from serve.problems import Problem

DATA = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-", 10, (0, 9)),
        ("bytes=0-0", 10, (0, 0)),
        ("bytes=3-5", 10, (3, 5)),
        ("bytes=3-99999999999999999999", 10, (3, 9)),
        ("bytes=-3", 10, (7, 9)),
        ("bytes=-30", 10, (0, 9)),
        ("bytes=5-3", 10, None),  # not a range
        ("bytes=-", 10, None),
        ("bytes=0-1,3-4", 10, None),  # several: the whole file
        ("seconds=0-1", 10, None),
        ("bytes=a-b", 10, None),
    ],
)
def test_what_a_range_header_asks(header, size, expected):
    assert span(header, size) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=11-12", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_range_outside_the_file_is_416(header, size):
    with pytest.raises(Problem) as raised:
        span(header, size)
    assert raised.value.status == 416
    assert raised.value.headers == {"Content-Range": f"bytes */{size}"}


@given(size=st.integers(1, 300), first=st.integers(0, 400), last=st.integers(0, 400))
def test_ranges_are_pythons_slices(size, first, last):
    data = bytes(i % 256 for i in range(size))
    if first < size and first <= last:
        part = span(f"bytes={first}-{last}", size)
        assert data[part.first : part.last + 1] == data[first : last + 1]


def get(place: Place, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    scope = {
        "type": "http",
        "method": method,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    response = file_response(place, "abc", Request(scope))
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    async def receive() -> dict:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    asyncio.run(response(scope, receive, send))
    fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    place = Place(tmp_path if request.param == "local" else "memory://media") / "clip.mp4"
    place.write_bytes(DATA)
    return place


def test_whole_and_part_and_head(place):
    status, fields, body = get(place)
    assert (status, body) == (200, DATA)
    assert fields["content-type"] == "video/mp4"
    assert fields["accept-ranges"] == "bytes"
    assert fields["content-length"] == str(len(DATA))
    status, fields, body = get(place, range="bytes=100-299")
    assert (status, body) == (206, DATA[100:300])
    assert fields["content-range"] == f"bytes 100-299/{len(DATA)}"
    assert fields["content-length"] == "200"
    status, fields, body = get(place, method="HEAD")
    assert (status, body, fields["content-length"]) == (200, b"", str(len(DATA)))


def test_if_range_of_another_file_gets_the_whole_one(place):
    assert get(place, range="bytes=0-9", if_range='"abc"')[2] == DATA[:10]
    assert get(place, range="bytes=0-9", if_range='"xyz"')[2] == DATA


def test_a_file_that_is_gone_is_404_without_its_path(tmp_path):
    with pytest.raises(Problem) as raised:
        get(Place(tmp_path) / "gone.mp4")
    assert raised.value.status == 404
    assert str(tmp_path) not in raised.value.detail


@pytest.mark.parametrize("name", ["page.html", "image.svg", "script.js", "clip"])
def test_nothing_is_served_that_a_browser_would_run(tmp_path, name):
    place = Place(tmp_path) / name
    place.write_bytes(b"<script>")
    fields = get(place)[1]
    assert fields["content-type"] == "application/octet-stream"
    assert fields["x-content-type-options"] == "nosniff"
