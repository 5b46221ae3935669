"""A video by URL: from allowed hosts at public addresses, and from nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from covr.limits import LIMITS
from serve import remote
from serve.problems import Problem

HOST = "videos.test"


def fetch(url: str, hosts=frozenset({HOST, "127.0.0.1", "localhost"}), limits=LIMITS) -> tuple[bytes, str]:
    async def run() -> tuple[bytes, str]:
        async with remote.fetched(url, hosts, limits) as file:
            return file.path.read_bytes(), file.sha256

    return asyncio.run(run())


def refusal(url: str, **more: object) -> tuple[int, str]:
    with pytest.raises(Problem) as refused:
        fetch(url, **more)
    return refused.value.status, refused.value.kind


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "::1",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "ff02::1",
        ),
    ],
)
def test_an_address_that_is_not_public(address):
    assert not remote._is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_an_address_that_is(address):
    assert remote._is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "status", "kind"),
    [
        ("https://127.0.0.1/a.mp4", 403, "url-not-allowed"),
        ("https://localhost/a.mp4", 403, "url-not-allowed"),
        ("https://169.254.169.254/latest/meta-data", 403, "url-not-allowed"),
        ("https://[::1]/a.mp4", 403, "url-not-allowed"),
        ("https://0x7f000001/a.mp4", 403, "url-not-allowed"),
        ("https://2130706433/a.mp4", 403, "url-not-allowed"),
        ("https://elsewhere.test/a.mp4", 403, "url-not-allowed"),
        (f"https://{HOST}.evil.test/a.mp4", 403, "url-not-allowed"),
        (f"http://{HOST}/a.mp4", 422, "bad-url"),
        (f"https://{HOST}:8265/api/jobs", 422, "bad-url"),
        (f"https://user@{HOST}/a.mp4", 422, "bad-url"),
        ("gopher://videos.test/", 422, "bad-url"),
        ("ftp://videos.test/a.mp4", 422, "bad-url"),
        ("file:///etc/passwd", 422, "bad-url"),
        ("data:video/mp4;base64,AAAA", 422, "bad-url"),
        ("a.mp4", 422, "bad-url"),
        (f"https://{HOST}/a.mp4", 422, "url-failed"),  # of no address, in this test
    ],
)
def test_a_url_that_is_not_fetched(url, status, kind):
    assert refusal(url) == (status, kind)


def test_no_host_is_allowed_unless_it_is_named(url):
    answer = httpx.post(f"{url}/v1/search", json={"video_url": "https://videos.test/a.mp4", "text": "twice"})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:covr:problem:url-not-allowed")
    for refused in ({"video_url": "https://videos.test/a.mp4", "clip_id": "a"}, {"video_url": "x" * 3000}):
        assert httpx.post(f"{url}/v1/search", json=refused).status_code == 422


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A host with a certificate of its own authority, at a public address as far as is known here."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    moved = {
        "/moved": "/a.mp4",
        "/away": "https://elsewhere.test/a.mp4",
        "/round": "/round",
        "/plain": f"http://{HOST}/",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["host"] == HOST
            self.send_response(302 if self.path in moved else 404 if self.path == "/gone" else 200)
            if self.path in moved:
                self.send_header("Location", moved[self.path])
            self.send_header("Content-Type", "text/html" if self.path == "/page" else "video/mp4")
            self.end_headers()
            self.wfile.write(b"moving pictures" * 100)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(remote, "_PORT", server.server_port)

    async def address(host: str) -> str:
        return "127.0.0.1"

    monkeypatch.setattr(remote, "_address", address)
    yield monkeypatch
    server.shutdown()
    server.server_close()


def test_a_file_of_an_allowed_host(server):
    for path in ("a.mp4", "moved"):
        data, sha256 = fetch(f"https://{HOST}/{path}")
        assert data == b"moving pictures" * 100
        assert sha256 == hashlib.sha256(data).hexdigest()
    assert refusal(f"https://{HOST}/away") == (403, "url-not-allowed")
    assert refusal(f"https://{HOST}/plain") == (422, "bad-url")
    assert refusal(f"https://{HOST}/round") == (422, "url-failed")
    assert refusal(f"https://{HOST}/gone") == (422, "url-failed")
    assert refusal(f"https://{HOST}/page") == (415, "not-a-video")
    assert refusal(f"https://{HOST}/a.mp4", limits=replace(LIMITS, max_body_bytes=100)) == (413, "body-too-large")
    assert refusal("https://localhost/a.mp4") == (422, "url-failed")  # the certificate is another host's
    server.delenv("SSL_CERT_FILE")
    assert refusal(f"https://{HOST}/a.mp4") == (422, "url-failed")  # of an authority that is not known
