"""Memory for the bodies of all requests. The queue alone does not bound it: a body is read before its place is taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import UploadsFullError

LARGEST_BODIES = 8  # of DUET_MAX_BYTES each


class UploadBudget:
    """Bytes that all requests together hold of what was sent to them. Belongs to the event loop."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` of one body; all together may have eight times as many."""
        self._limit, self._held = LARGEST_BODIES * max_bytes, 0

    def take(self, size: int) -> None:
        """Count bytes in; raises UploadsFullError where they do not fit."""
        if self._held + size > self._limit:
            raise UploadsFullError(
                f"bodies being received and scored exceed {self._limit} bytes (8 x DUET_MAX_BYTES): send it again later"
            )
        self._held += size

    def give_back(self, size: int) -> None:
        """Count bytes out."""
        self._held -= size

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count what a body has become in memory beside itself; raises as `take`."""
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)


class UploadBudgetMiddleware:
    """Counts the bytes that every request receives, until it is answered; its reader gets UploadsFullError."""

    def __init__(self, app: ASGIApp, budget: UploadBudget) -> None:
        self._app, self._budget = app, budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        held = 0

        async def receive_counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            self._budget.take(size)
            held += size
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._budget.give_back(held)
