"""A route whose requests are counted by outcome, whatever ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from .errors import problem_of
from .json_lines import JsonLinesResponse, SendLine
from .progress import Progress
from .runtime import runtime_of

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
T = TypeVar("T")


class MeteredRoute(APIRoute):
    """Counts scoring requests. The handler leaves its model's name and version, and its progress, in `request.state`.

    How a request ended is left there, too, for its log line: `outcome`, and `problem` of one that was refused.
    """

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, parameter checks included, with the counting around it."""
        handler = super().get_route_handler()

        async def metered(request: Request) -> Response:
            response = await _unless_scored(request, handler(request))
            if isinstance(response, JsonLinesResponse):
                response.work = _metered_work(request, response.work)
            else:
                _count_scored(request)
            return response

        return metered


def count_refused_image(request: Request, error: Exception) -> None:
    """Count one image of a batch by its kind of problem; one that the service failed at makes the whole request `failed`."""
    if problem_of(error).is_failure:
        request.state.failed = True
    else:
        _count_rejected(request, error)


def _metered_work(
    request: Request, work: Callable[[SendLine], Awaitable[None]]
) -> Callable[[SendLine], Coroutine[Any, Any, None]]:
    """What an answer of lines still has to do after its handler, with the counting around it."""

    async def metered(send_line: SendLine) -> None:
        await _unless_scored(request, work(send_line))
        _count_scored(request)

    return metered


async def _unless_scored(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`; counts a request that it ends in any other way."""
    try:
        return await work
    except (ClientDisconnect, asyncio.CancelledError):
        _count_cancelled(request)
        raise
    except Exception as error:
        _count_refusal(request, error)
        raise


def _labels(request: Request) -> tuple[str, str]:
    labels: tuple[str, str] = getattr(request.state, "model", ("", ""))
    return labels


def _count_scored(request: Request) -> None:
    _count_outcome(request, "failed" if getattr(request.state, "failed", False) else "scored")
    progress: Progress = request.state.progress
    if progress.pictures == 1 and (seconds := progress.since_received) is not None:
        runtime_of(request).metrics.observe_request(*_labels(request), seconds, request.state.id)


def _count_cancelled(request: Request) -> None:
    progress: Progress | None = getattr(request.state, "progress", None)
    _count_outcome(request, "cancelled")
    runtime_of(request).metrics.cancelled.labels(*_labels(request), progress.stage if progress else "upload").inc()


def _count_refusal(request: Request, error: Exception) -> None:
    problem = problem_of(error)
    request.state.problem = problem.slug
    _count_outcome(request, "failed" if problem.is_failure else "rejected")
    if not problem.is_failure:
        _count_rejected(request, error)


def _count_outcome(request: Request, outcome: str) -> None:
    request.state.outcome = outcome
    runtime_of(request).metrics.requests.labels(*_labels(request), outcome).inc()


def _count_rejected(request: Request, error: Exception) -> None:
    runtime_of(request).metrics.rejected.labels(*_labels(request), problem_of(error).slug).inc()
