"""Memory for the bodies of all requests. The queue alone does not bound it: a body is read before its place is taken."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import UploadsFullError

LARGEST_BODIES = 8  # of DUET_MAX_BYTES each


class UploadBudgetMiddleware:
    """Counts the bytes that every request has received, until it is answered."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """`max_bytes` of one body; all together may have eight times as many."""
        self._app, self._limit, self._held = app, LARGEST_BODIES * max_bytes, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; whoever reads a body that does not fit gets UploadsFullError."""
        held = 0

        async def receive_counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            if self._held + size > self._limit:
                raise UploadsFullError(
                    f"bodies being received and scored exceed {self._limit} bytes (8 x DUET_MAX_BYTES): send it again later"
                )
            self._held += size
            held += size
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._held -= held
