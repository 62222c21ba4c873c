"""Around every request: its id, one log line, and a problem instead of a stack trace."""

from __future__ import annotations

import random
import re
import time
from urllib.parse import quote

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import problem_response
from .request_log import scoring_fields

REQUEST_ID_HEADER = "X-Request-ID"
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")  # it goes into headers and logs
QUIET_PATHS = ("/health/", "/v2/health/", "/metrics")  # asked for every few seconds

log = structlog.stdlib.get_logger(__name__)


def _new_id() -> str:
    """No secret, so without uuid4's call into the kernel, after which the event loop waits for threads that compute."""
    return f"{random.getrandbits(128):032x}"


class RequestMiddleware:
    """Echoes or makes X-Request-ID, which handlers find as `request.state.id`, and logs the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        given = request.headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _SAFE_ID.fullmatch(given) else _new_id()
        request.state.id = request_id
        started = time.monotonic()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        structlog.contextvars.clear_contextvars()  # a pipelined request inherits those of the one before it
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                response = problem_response(request, error)
                if status is None:
                    await response(scope, receive, send_with_id)
            quiet = request.url.path.startswith(QUIET_PATHS)
            (log.debug if quiet else log.info)(
                "request",
                method=request.method,
                path=quote(request.url.path),  # a console obeys control characters
                status=status,
                milliseconds=round(1000 * (time.monotonic() - started), 3),
                **scoring_fields(request),
            )
