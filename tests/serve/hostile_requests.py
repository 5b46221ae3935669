"""Requests that an endpoint should not be sent, each numbered and answered as the field's notes say."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from hostile_videos import jpeg
from small_root import TEXT

JSON = {"content-type": "application/json"}
JSON_HEAD = "Content-Type: application/json\n"
QUERY = {"clip_id": "a", "text": TEXT, "k": 5}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One that asks for keys, and the keys."""

    url: str
    query: str
    ingest: str
    expired: str

    def ask(self, method: str, path: str, key: str | None = None, **content: object) -> httpx.Response:
        key = self.query if key is None else key
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **content.pop("headers", {})}  # type: ignore[dict-item]
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, **content)  # type: ignore[arg-type]

    def search(self, body: bytes, **headers: str) -> httpx.Response:
        return self.ask("POST", "/v1/search", content=body, headers=JSON | headers)

    def raw(self, head: str, body: bytes = b"") -> int:
        """The status of the answer to bytes as they are; 0: the connection was closed without one."""
        address = urlsplit(self.url)
        start = f"POST {address.path}/v1/search HTTP/1.1\nHost: x\nAuthorization: Bearer {self.query}\n"
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=60) as connection:
            connection.sendall(f"{start}{head}\n\n".replace("\n", "\r\n").encode() + body)
            answer = connection.recv(65536)
        return int(answer.split()[1]) if answer else 0


def _query(**changes: object) -> bytes:
    return json.dumps(QUERY | changes).encode()


def _twice(endpoint: Endpoint) -> httpx.Response:
    files = [("text", (None, "a")), ("text", (None, "b")), ("video", ("clip.mp4", b"x"))]
    return endpoint.ask("POST", "/v1/search", files=files)


def _parts(endpoint: Endpoint) -> httpx.Response:
    files = [(f"f{number}", (None, "x")) for number in range(10_000)]
    return endpoint.ask("POST", "/v1/search", files=files)


def _other_body(endpoint: Endpoint) -> httpx.Response:
    headers, files = {"Idempotency-Key": uuid.uuid4().hex}, {"video": ("red.jpg", jpeg(Path()))}
    for clip_id in ("one", "other"):
        data = {"clip_id": clip_id}
        answer = endpoint.ask("POST", "/v1/clips", endpoint.ingest, headers=headers, files=files, data=data)
    return answer


def _k(value: str) -> Callable[[Endpoint], httpx.Response]:
    return lambda endpoint: endpoint.search(_query().replace(b'"k": 5', f'"k": {value}'.encode()))


# F3's number, what it is, how it is sent, the answer.
REQUESTS: list[tuple[int, str, Callable[[Endpoint], httpx.Response | int], int]] = [
    (1, "empty body", lambda e: e.search(b""), 422),
    (2, "200 MB that are never sent", lambda e: e.raw(f"{JSON_HEAD}Content-Length: {200 << 20}"), 413),
    (3, "a length that is no number", lambda e: e.raw("Content-Length: ten"), 400),
    (3, "a length below zero", lambda e: e.raw("Content-Length: -5"), 400),
    (3, "a length that ends within the body", lambda e: e.raw(f"{JSON_HEAD}Content-Length: 9", _query()), 400),
    (5, "a compressed body", lambda e: e.search(b"\x1f\x8b" + bytes(100), **{"content-encoding": "gzip"}), 415),
    (6, "ten thousand parts", _parts, 413),
    (7, "a field twice, in a form", _twice, 422),
    (7, "a field twice, in JSON", lambda e: e.search(b'{"text": "a", "text": "b"}'), 422),
    (8, "nested ten thousand deep", lambda e: e.search(b'{"filter": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"), 400),
    (9, "NaN", _k("NaN"), 422),
    (9, "Infinity", _k("Infinity"), 422),
    (9, "1e999", _k("1e999"), 422),
    (9, "NaN in a filter", lambda e: e.search(_query(filter={"field": "fps", "range": [float("nan"), None]})), 422),
    (10, "invalid UTF-8", lambda e: e.search(_query(text="@").replace(b"@", b"\xff\xfe")), 400),
    (10, "a lone surrogate", lambda e: e.search(b'{"text": "\\ud800"}'), 400),
    (11, "k of 0", _k("0"), 422),
    (11, "k of -1", _k("-1"), 422),
    (11, "k of a billion", _k("1000000000"), 422),
    (11, "k as text", _k('"5"'), 422),
    (11, "k true", _k("true"), 422),
    (12, "an unknown field", lambda e: e.search(_query(filters={})), 422),
    (13, "GET", lambda e: e.ask("GET", "/v1/search"), 405),
    (13, "HEAD", lambda e: e.ask("HEAD", "/v1/search"), 405),
    (13, "TRACE", lambda e: e.ask("TRACE", "/v1/search"), 405),
    (13, "PUT", lambda e: e.ask("PUT", "/v1/clips/a", e.ingest), 405),
    (14, "a header of ten thousand letters", lambda e: e.search(_query(), **{"x-long": "a" * 10_000}), 200),
    (15, "an idempotency key with another body", _other_body, 409),
    (18, "no key", lambda e: e.ask("POST", "/v1/search", key="", json=QUERY), 401),
    (18, "no such key", lambda e: e.ask("POST", "/v1/search", key=e.query[:-1], json=QUERY), 401),
    (19, "a key of another scope", lambda e: e.ask("POST", "/v1/search", key=e.ingest, json=QUERY), 403),
    (19, "a query key that would delete", lambda e: e.ask("DELETE", "/v1/clips/a"), 403),
    (20, "a key of yesterday", lambda e: e.ask("POST", "/v1/search", key=e.expired, json=QUERY), 401),
]  # fmt: skip
