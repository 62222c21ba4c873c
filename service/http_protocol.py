"""uvicorn's HTTP protocol, which by itself waits for ever for a request to be complete, with an end to its patience."""

from __future__ import annotations

import asyncio

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.stdlib.get_logger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """Closes a connection whose client is slow to begin a request, or sends too much that is neither header nor body.

    The time runs from the connection, and from each answer, to the end of the next header; what remains of a body that was
    answered early counts to it. A body that is being waited for is under its request's deadline instead.
    """

    patience = 10.0  # seconds
    max_header_bytes = 64 * 1024  # give or take what one read brings
    _timer: asyncio.TimerHandle | None = None
    _unused_bytes = 0  # since the last complete header or piece of a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Start the time of the first header."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Refuse a header, or the trailer of a body, that does not end."""
        self._unused_bytes += len(data)
        super().data_received(data)
        if self._unused_bytes > self.max_header_bytes and not self.transport.is_closing():
            self.send_400_response("Request header too large.")

    def on_headers_complete(self) -> None:
        """From here on the request's own deadline holds."""
        self._unused_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count what is of use."""
        self._unused_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Start the time of the next header, unless it has come already."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._start_timer()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.patience, self._close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            log.info("slow connection closed", address=self.client and self.client[0])
            self.transport.close()
