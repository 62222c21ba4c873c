"""A route whose requests are counted by outcome, whatever ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from .errors import problem_of
from .progress import Progress
from .runtime import runtime_of

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


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
