"""The client's own mistakes and those of what it finds at the URL; its answers are tested with the endpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from covr.client import Client, RequestRefused
from covr.errors import UserError


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """A web server that is no covr endpoint."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if "clips" in self.path else 200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_nothing_listening_says_how_to_start_it():
    with Client("http://127.0.0.1:9") as client, pytest.raises(UserError, match=r"nothing listens.*make serve"):
        client.ready()


def test_something_else_listening_is_said(stranger):
    with Client(stranger) as client:
        with pytest.raises(UserError, match="not that of a covr endpoint"):
            client.ready()
        with pytest.raises(RequestRefused, match="HTTP 404 from something that is not a covr endpoint"):
            client.clip("a")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://[", "", "nonsense"])
def test_what_is_no_url_is_one_clear_error(url):
    with pytest.raises(UserError), Client(url, timeout_s=2) as client:
        client.ready()


@pytest.mark.parametrize(
    ("query", "message"),
    [({}, "nothing to search by"), ({"text": "x", "video": "x.mp4", "clip_id": "a"}, "several videos to search by")],
)
def test_a_query_is_of_something_and_has_one_video(query, message):
    with Client() as client, pytest.raises(UserError, match=message):
        client.search(**query)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with Client() as client, pytest.raises(UserError, match=r"cannot read the video.*gone\.mp4"):
        client.search(text="x", video=tmp_path / "gone.mp4")
