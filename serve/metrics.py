"""Prometheus metrics of one gateway; the one importer of prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serve.query import Found
from serve.replies import Described

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What is counted; `text` is what /metrics answers."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("covr_requests_total", "Answered requests.", ["route", "status"], registry=registry)
        self._rejections = Counter(
            "covr_rejections_total", "Refused requests, by reason.", ["reason"], registry=registry
        )
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
        self._waiting = Gauge("covr_queries_waiting", "Queries that wait for encoder and index.", registry=registry)
        self._clips = Gauge("covr_index_clips", "Indexed clips.", ["retriever"], registry=registry)
        self._refused = Gauge(
            "covr_pair_refused",
            "1 while the pair that index/current.json names was tried and is not served.",
            ["retriever"],
            registry=registry,
        )

    def begun(self) -> None:
        """A request came."""
        self._in_flight.inc()

    def ended(self, route: str, status: int, seconds: float, problem: str | None) -> None:
        """It was answered, or refused with a problem of this kind."""
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)
        if problem is not None:
            self._rejections.labels(problem).inc()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a query is with the encoder and the index, or before them."""
        with self._waiting.track_inprogress():
            yield

    def query(self, decode_ms: float | None, found: Found) -> None:
        """A query was answered."""
        took = {"decode": decode_ms, "queue": found.queue_ms, "encode": found.encode_ms, "search": found.search_ms}
        for stage, took_ms in took.items():
            if took_ms is not None:
                self._stages.labels(stage).observe(took_ms / 1000)
        self._batches.observe(found.batch_size)

    def text(self, described: Mapping[str, Described]) -> bytes:
        """In Prometheus's text format.

        Args:
            described: what answers, by the retriever's name.
        """
        for name, found in described.items():
            self._clips.labels(name).set(found.clips)
            self._refused.labels(name).set(found.refused is not None)
        return generate_latest(self._registry)
