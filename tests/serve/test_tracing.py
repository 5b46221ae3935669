"""Traces and logs of a request, as an exporter and a log reader get them."""

from __future__ import annotations

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import ray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from ray import serve as ray_serve
from small_root import TEXT

from covr.errors import UserError
from serve import tracing
from serve.app import app
from serve.settings import Settings

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch):
    """An OTLP receiver; the spans that came."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield spans
    server.shutdown()
    server.server_close()


def test_a_request_is_one_trace_over_all_replicas_and_its_logs_are_json(url, served, collector):
    ray_serve.run(
        app(Settings(root=str(served.root), topology="separate", shards=2)), name="traced", route_prefix="/traced"
    )
    try:
        address = url.replace("/retrieval", "/traced")
        httpx.get(f"{address}/readyz", timeout=60).raise_for_status()
        video = {"video": served.media("a").read_bytes()}
        answer = httpx.post(
            f"{address}/v1/search", files=video, data={"text": TEXT}, headers={"traceparent": PARENT}, timeout=60
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            trace = [span for span in collector if span.trace_id.hex() == PARENT.split("-")[1]]
            if len(trace) >= 7:
                break
            time.sleep(0.1)
        by_name = {span.name: span for span in trace}
        assert set(by_name) == {"POST /v1/search", "decode", "search", "queue", "encode", "rank"}
        root, search = by_name["POST /v1/search"], by_name["search"]
        assert root.parent_span_id.hex() == PARENT.split("-")[2]
        assert {by_name[name].parent_span_id for name in ("decode", "search")} == {root.span_id}
        assert {by_name[name].parent_span_id for name in ("queue", "encode", "rank")} == {search.span_id}
        assert sum(span.name == "rank" for span in trace) == 2  # two shards
        facts = {each.key: each.value for each in root.attributes}
        assert facts["covr.request_id"].string_value == answer.json()["request_id"]
        assert facts["http.response.status_code"].int_value == 200
        said = json.dumps([str(span) for span in trace])
        assert TEXT not in said
        logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs/serve"
        (file,) = logs.glob("replica_traced_Gateway_*.log")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        own = [line for line in lines if line.get("request_id") == answer.json()["request_id"]]
        assert own
        assert {line["deployment"] for line in own} == {"traced_Gateway"}
        assert {line["application"] for line in own} == {"traced"}
    finally:
        ray_serve.delete("traced")


def test_an_exporter_that_is_not_installed_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(UserError, match=r"covr\[trace\]"):
        tracing.environment()
