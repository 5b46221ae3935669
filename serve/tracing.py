"""OpenTelemetry traces, where OTEL_EXPORTER_OTLP_ENDPOINT is set; the one importer of opentelemetry.

A request is a span, under its caller's where a `traceparent` header names one; what is done for it is a span below,
also in other replicas. Without an exporter nothing is recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Tracer
from starlette.requests import HTTPConnection

from covr.errors import UserError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def environment() -> dict[str, str]:
    """What replicas have to find in theirs.

    Raises:
        UserError: an exporter is asked for that is not installed.
    """
    if ENDPOINT not in os.environ:
        return {}
    _exporter()
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


@cache
def _tracer() -> Tracer:
    if ENDPOINT not in os.environ:
        return trace.NoOpTracer()
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "covr")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(_exporter()()))
    return provider.get_tracer("covr")


def _exporter():
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise UserError(f"{ENDPOINT} is set, and no exporter is installed", ENDPOINT, "install covr[trace]") from None
    return OTLPSpanExporter


@contextmanager
def request(connection: HTTPConnection) -> Iterator[Span]:
    """The span of a request, under its caller's."""
    above = propagate.extract(dict(connection.headers))
    with _tracer().start_as_current_span("request", context=above, kind=SpanKind.SERVER) as span:
        yield span


def answered(span: Span, method: str, route: str, status: int, request_id: str) -> None:
    """What became of a request; of its path only what is declared, because the rest may name clips."""
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "covr.request_id": request_id,
        }
    )
    if status >= 500:
        span.set_status(trace.StatusCode.ERROR)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """A span of work in this process, below the current one."""
    with _tracer().start_as_current_span(name):
        yield


def carried() -> dict[str, str]:
    """What names the current span to another process; nothing where none is recorded."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def stages(
    carrier: Mapping[str, str], took_ms: Sequence[tuple[str, float]], attributes: Mapping[str, str | int]
) -> None:
    """Spans of stages that followed one another and have just ended, below the span that `carrier` names."""
    if not carrier:
        return
    below = propagate.extract(carrier)
    end = time.time_ns() - int(1e6 * sum(ms for _, ms in took_ms))
    for name, ms in took_ms:
        start, end = end, end + int(1e6 * ms)
        _tracer().start_span(name, context=below, start_time=start, attributes=dict(attributes)).end(end)
