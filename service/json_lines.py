"""An answer of JSON lines, each sent the moment it is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .content_negotiation import JSON_LINES
from .disconnect import while_connected

SendLine = Callable[[BaseModel], Awaitable[None]]
Work = Callable[[SendLine], Coroutine[Any, Any, None]]


class JsonLinesResponse(Response):
    """Runs `work`, which is given a function that sends one line, and closes what is `held` for it when it is over.

    The client going away cancels the work, and so does a client that has not taken the lines after `limit` seconds.
    """

    media_type = JSON_LINES

    def __init__(self, request: Request, work: Work, limit: float, held: contextlib.AsyncExitStack) -> None:
        self.work, self._request, self._limit, self._held = work, request, limit, held
        self.status_code, self.background = 200, None
        self.init_headers()  # without a body, and so without Content-Length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer; an answer that breaks off lacks its end, by which the client knows."""

        async def send_line(line: BaseModel) -> None:
            await send({"type": "http.response.body", "body": line.model_dump_json().encode() + b"\n", "more_body": True})

        async with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                async with asyncio.timeout(self._limit):
                    await while_connected(self._request, self.work(send_line))
            except (ClientDisconnect, TimeoutError):
                return  # metering has counted it
            await send({"type": "http.response.body", "body": b""})
