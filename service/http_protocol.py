"""uvicorn's HTTP protocol, which by itself waits for ever for a request to end and an answer to be read, with less patience."""

from __future__ import annotations

import asyncio

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.stdlib.get_logger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """Closes a connection whose client is slow to begin a request, sends no end of header, or barely reads its answer.

    The time of a request runs from the connection, and later from its first byte, to the end of its header; what remains of a
    body that was answered early counts to it, from the answer. A body that is being waited for is under its
    request's deadline instead, and a connection that rests between requests under uvicorn's `timeout_keep_alive`.
    """

    patience = 10.0  # seconds
    least_read = 64 * 1024  # bytes of an answer, in each stretch of that: an answer held for longer is memory held for nobody
    max_header_bytes = 64 * 1024  # give or take what one read brings
    _timer: asyncio.TimerHandle | None = None
    _reading_timer: asyncio.TimerHandle | None = None
    _unused_bytes = 0  # since the last complete header or piece of a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Start the time of the first header."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._stop_timer()
        self._stop_reading_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the time of the next header; refuse a header, or the trailer of a body, that does not end."""
        if self._timer is None and self.cycle is not None and self.cycle.response_complete:
            self._start_timer()
        self._unused_bytes += len(data)
        super().data_received(data)
        if self._unused_bytes > self.max_header_bytes and not self.transport.is_closing():
            self.send_400_response("Request header too large.")

    def on_headers_complete(self) -> None:
        """From here on the request's own deadline holds."""
        self._unused_bytes = 0
        self._stop_timer()
        self._unset_keepalive_if_required()  # of a body's rest that came together with this request
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count what is of use."""
        self._unused_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Where this was the rest of a body that was answered early, the connection rests again."""
        super().on_message_complete()
        if self.cycle.response_complete:
            self._stop_timer()
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """Start the time for the rest of a body that was answered early."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._start_timer()

    def pause_writing(self) -> None:
        """From here on the client has to read some of its answer in each stretch of time."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """It has read enough for the rest to be sent."""
        self._stop_reading_timer()
        super().resume_writing()

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
            self._watch_reading()  # closing waits until the client has read what is left

    def _watch_reading(self) -> None:
        self._stop_reading_timer()
        if unread := self.transport.get_write_buffer_size():
            self._reading_timer = self.loop.call_later(self.patience, self._check_reading, unread)

    def _stop_reading_timer(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _check_reading(self, unread_before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread_before - unread >= self.least_read:
            self._watch_reading()
        else:
            log.info("connection cut: its client reads nothing, or too slowly", address=self.client and self.client[0])
            self.transport.abort()
