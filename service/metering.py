"""A route whose requests are counted by outcome, whatever ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from .errors import DrainingError, problem_of
from .progress import Progress
from .runtime import runtime_of

TimeoutHeader = Annotated[
    int | None,
    Header(alias="x-request-timeout-ms", ge=1, description="deadline in milliseconds; the service's own if absent or longer"),
]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def start(request: Request, timeout_ms: int | None) -> Progress:
    """Start the clock of a scoring request; raises DrainingError once the service is shutting down."""
    runtime = runtime_of(request)
    own_limit = runtime.settings.request_timeout_ms
    request.state.progress = progress = Progress(min(timeout_ms or own_limit, own_limit) / 1000)
    if runtime.draining:
        raise DrainingError("the service is shutting down: send the request to another one")
    return progress


class MeteredRoute(APIRoute):
    """Counts scoring requests. The handler leaves its model's name and version, and its progress, in `request.state`."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, parameter checks included, with the counting around it."""
        handler = super().get_route_handler()

        async def metered(request: Request) -> Response:
            try:
                response = await handler(request)
            except (ClientDisconnect, asyncio.CancelledError):
                _count_cancelled(request)
                raise
            except Exception as error:
                _count_refusal(request, error)
                raise
            _count_scored(request)
            return response

        return metered


def _labels(request: Request) -> tuple[str, str]:
    labels: tuple[str, str] = getattr(request.state, "model", ("", ""))
    return labels


def _count_scored(request: Request) -> None:
    metrics, progress = runtime_of(request).metrics, request.state.progress
    metrics.requests.labels(*_labels(request), "scored").inc()
    metrics.request_duration.labels(*_labels(request)).observe(progress.total)


def _count_cancelled(request: Request) -> None:
    metrics = runtime_of(request).metrics
    progress: Progress | None = getattr(request.state, "progress", None)
    metrics.requests.labels(*_labels(request), "cancelled").inc()
    metrics.cancelled.labels(*_labels(request), progress.stage if progress else "upload").inc()


def _count_refusal(request: Request, error: Exception) -> None:
    metrics, problem = runtime_of(request).metrics, problem_of(error)
    metrics.requests.labels(*_labels(request), "failed" if problem.is_failure else "rejected").inc()
    if not problem.is_failure:
        metrics.rejected.labels(*_labels(request), problem.slug).inc()
