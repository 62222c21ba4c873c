"""OpenTelemetry traces: a span a request with one for each stage, and a span a batch that links to its requests.

Imported only where traces are configured (see tracing_settings.py): it needs the `otel` extra.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer, format_span_id, format_trace_id
from opentelemetry.trace import set_span_in_context as under
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.requests import Request

from .request_log import scoring_fields

Attributes = dict[str, str | bool | int | float]


class RequestTrace:
    """The span of one request, under which its stages lie. Stages and batches are told of once they are over."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span

    @property
    def ids(self) -> dict[str, str]:
        """For log lines: how the trace and the span are called."""
        context = self._span.get_span_context()
        return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}

    @property
    def header(self) -> str:
        """The value of an answer's `traceresponse` (W3C Trace Context, level 3)."""
        ids, flags = self.ids, self._span.get_span_context().trace_flags
        return f"00-{ids['trace_id']}-{ids['span_id']}-{flags:02x}"

    def stage(
        self, name: str, started: float, ended: float, batch: SpanContext | None = None, error: Exception | None = None
    ) -> None:
        """A stage of the request or of one of its pictures, between two times of time.monotonic()."""
        links = [Link(batch)] if batch is not None else []
        span = self._tracer.start_span(name, under(self._span), links=links, start_time=_epoch(started))
        _end(span, ended, error)

    @staticmethod
    def batch(
        traces: Sequence[RequestTrace], images: int, started: float, ended: float, error: Exception | None = None
    ) -> SpanContext:
        """A batch that was computed for these requests, of which one may have several pictures in it."""
        links = [Link(trace._span.get_span_context()) for trace in dict.fromkeys(traces)]
        span = traces[0]._tracer.start_span(
            "batch", Context(), links=links, attributes={"duet.batch.images": images}, start_time=_epoch(started)
        )
        _end(span, ended, error)
        return span.get_span_context()


class Tracing:
    """Makes spans and sends them off, on a thread of its own, to where OTEL_EXPORTER_OTLP_ENDPOINT says."""

    def __init__(self, version: str) -> None:
        own = Resource.create({"service.name": "duet", "service.version": version})
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("duet", version)
        self._context = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(self, request: Request) -> Iterator[RequestTrace]:
        """The span of a request, a child of the one that its `traceparent` names, until the block is left."""
        parent = self._context.extract(dict(request.headers))
        attributes: Attributes = {
            "http.request.method": request.method, "url.path": request.url.path, "duet.request.id": request.state.id,
        }  # fmt: skip
        span = self._tracer.start_span(request.method, parent, SpanKind.SERVER, attributes)
        try:
            yield RequestTrace(self._tracer, span)
        finally:
            _describe(span, request)
            span.end()

    def close(self) -> None:
        """Send what has not been sent; blocks until then, or until it has been tried for a while."""
        self._provider.shutdown()


def _describe(span: Span, request: Request) -> None:
    """What is known of a request only when it is over."""
    status = getattr(request.state, "status", None)
    if route := request.scope.get("route"):
        span.update_name(f"{request.method} {route.path}")
        span.set_attribute("http.route", route.path)
    if status is not None:
        span.set_attribute("http.response.status_code", status)
    if status is None or status >= 500:
        span.set_status(StatusCode.ERROR)
    for name, value in scoring_fields(request).items():
        if isinstance(value, str | int):
            span.set_attribute(f"duet.{name}", value)


def _end(span: Span, ended: float, error: Exception | None) -> None:
    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR)
    span.end(_epoch(ended))


def _epoch(moment: float) -> int:
    """A time of time.monotonic() in nanoseconds since 1970."""
    return time.time_ns() - round(1e9 * (time.monotonic() - moment))
