"""Around a request where traces are wanted: a span for it, whose ids stand in its log lines and in its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .middleware import QUIET_PATHS

if TYPE_CHECKING:
    from .tracing import Tracing


class TraceMiddleware:
    """Handlers find the span as `request.state.trace`. Lies within RequestMiddleware, which names the request."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; probes and scrapes are not traced."""
        if scope["type"] != "http" or (request := Request(scope)).url.path.startswith(QUIET_PATHS):
            await self._app(scope, receive, send)
            return
        with self._tracing.request(request) as trace:
            request.state.trace = trace
            structlog.contextvars.bind_contextvars(**trace.ids)

            async def send_with_trace(message: Message) -> None:
                if message["type"] == "http.response.start":
                    request.state.status = message["status"]
                    MutableHeaders(scope=message)["traceresponse"] = trace.header
                await send(message)

            await self._app(scope, receive, send_with_trace)
