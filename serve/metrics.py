"""Prometheus metrics of one gateway; the one importer of prometheus-client."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What is counted; `text` is what /metrics answers."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("covr_requests_total", "Answered requests.", ["route", "status"], registry=registry)
        self._latency = Histogram(
            "covr_request_seconds", "From head to last byte.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._stages = Histogram(
            "covr_query_stage_seconds", "Stages of queries.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self._batches = Histogram(
            "covr_query_batch_size",
            "Queries answered in the same pass.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self._in_flight = Gauge("covr_requests_in_flight", "Requests being worked on.", registry=registry)
        self._clips = Gauge("covr_index_clips", "Indexed clips, as of the last look.", registry=registry)

    def begun(self) -> None:
        """A request came."""
        self._in_flight.inc()

    def ended(self, route: str, status: int, seconds: float) -> None:
        """It was answered, or refused."""
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def query(self, decode_ms: float | None, encode_ms: float, search_ms: float, batch_size: int) -> None:
        """A query was answered."""
        for stage, took_ms in (("decode", decode_ms), ("encode", encode_ms), ("search", search_ms)):
            if took_ms is not None:
                self._stages.labels(stage).observe(took_ms / 1000)
        self._batches.observe(batch_size)

    def text(self, clips: int) -> bytes:
        """In Prometheus's text format."""
        self._clips.set(clips)
        return generate_latest(self._registry)
