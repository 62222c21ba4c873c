"""A real OTLP collector: an HTTP server that takes what an exporter posts, parses it and keeps the spans."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.service_process import PATIENCE


class TraceCollector:
    """`resource` is what the last sender said of itself."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.resource: dict[str, Any] = {}
        self._spans: list[Span] = []
        self._changed = threading.Condition()

    def take(self, body: bytes) -> None:
        """One export."""
        message = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for resource in message.resource_spans:
                self.resource = attributes(resource.resource)
                self._spans += [span for scope in resource.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def spans(self) -> list[Span]:
        """All so far."""
        with self._changed:
            return list(self._spans)

    def wait_for(self, wanted: Callable[[Span], bool], count: int = 1) -> list[Span]:
        """The spans that are wanted, once there are so many."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while len(found := [span for span in self._spans if wanted(span)]) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise RuntimeError(f"of {count} spans {len(found)} have come, beside {[s.name for s in self._spans]}")
        return found


def attributes(of: Any) -> dict[str, Any]:
    """The attributes of a span or resource."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of.attributes}


@contextmanager
def running_collector() -> Iterator[TraceCollector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            collector.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = TraceCollector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
