"""Exception → status and RFC 9457 problem body, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .images import TooManyPixelsError, UnreadableImageError, UnsupportedImageError

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:duet:problem:"

log = structlog.stdlib.get_logger(__name__)


class ServiceError(Exception):
    """A request that cannot be answered; the message is the problem's detail."""


class MalformedBodyError(ServiceError):
    """A multipart body that does not follow its own format."""


class UnknownModelError(ServiceError):
    """No such model, or no such version of it, is being served."""


class TooManyBytesError(ServiceError):
    """A body over DUET_MAX_BYTES."""


class UnsupportedContentTypeError(ServiceError):
    """A Content-Type that holds no picture."""


class BadParameterError(ServiceError):
    """Parameters that are valid one by one, but not together or not for this model."""


class QueueFullError(ServiceError):
    """DUET_MAX_QUEUE images wait already."""


class DrainingError(ServiceError):
    """The service, or the model's batcher, is shutting down."""


class NoModelError(ServiceError):
    """The model is still loading, or its engine has died."""


class OutOfMemoryError(ServiceError):
    """This machine has no memory left for the picture, however well-formed it is."""


class DeadlineError(ServiceError):
    """The deadline passed before the answer was there."""


class InferenceError(ServiceError):
    """The engine failed on this batch."""


@dataclass(frozen=True)
class Problem:
    """One kind of error answer. `retry_after` in seconds."""

    status: int
    slug: str
    title: str
    retry_after: int | None = None

    @property
    def type(self) -> str:
        """The stable identifier that clients compare."""
        return TYPE_PREFIX + self.slug

    @property
    def is_failure(self) -> bool:
        """Whether the service itself is at fault."""
        return self.status == 500


INTERNAL_ERROR = Problem(500, "internal-error", "Internal error")

PROBLEMS: dict[type[Exception], Problem] = {
    UnreadableImageError: Problem(400, "unreadable-image", "Not a readable image"),
    MalformedBodyError: Problem(400, "malformed-body", "Malformed body"),
    UnknownModelError: Problem(404, "unknown-model", "Unknown model"),
    TooManyBytesError: Problem(413, "too-many-bytes", "Too many bytes"),
    TooManyPixelsError: Problem(413, "too-many-pixels", "Too many pixels"),
    UnsupportedContentTypeError: Problem(415, "unsupported-content-type", "Content type not accepted"),
    UnsupportedImageError: Problem(415, "unsupported-image", "Image format not accepted"),
    BadParameterError: Problem(422, "bad-parameter", "Bad parameter"),
    RequestValidationError: Problem(422, "bad-parameter", "Bad parameter"),
    ClientDisconnect: Problem(499, "client-gone", "Client went away"),  # logged and counted; nobody is there to read it
    InferenceError: Problem(500, "inference-failed", "Inference failed"),
    QueueFullError: Problem(503, "queue-full", "Queue full", retry_after=1),
    DrainingError: Problem(503, "draining", "Shutting down", retry_after=5),
    NoModelError: Problem(503, "no-model", "No model is ready", retry_after=2),
    OutOfMemoryError: Problem(503, "out-of-memory", "Out of memory", retry_after=5),
    DeadlineError: Problem(504, "deadline-passed", "Deadline passed"),
}

_HTTP_PROBLEMS = {
    404: Problem(404, "not-found", "No such address"),
    405: Problem(405, "method-not-allowed", "Method not allowed"),
}


def problem_of(error: Exception) -> Problem:
    """The kind of answer that an exception stands for; an unforeseen one is an internal error."""
    if isinstance(error, HTTPException):
        return _HTTP_PROBLEMS.get(error.status_code, Problem(error.status_code, f"http-{error.status_code}", "Request refused"))
    return PROBLEMS.get(type(error), INTERNAL_ERROR)


def problem_response(request: Request, error: Exception) -> JSONResponse:
    """The problem+json answer to `error`. What is inside an internal error goes to the log alone."""
    problem = problem_of(error)
    body: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": _detail(error, problem),
        "instance": request.url.path,
    }
    headers = dict(getattr(error, "headers", None) or {})
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.is_failure:
        log.error("request failed", problem=problem.slug, exc_info=error)
    return JSONResponse(body, problem.status, headers, PROBLEM_MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every foreseen exception, and Starlette's own, with a problem. The unforeseen are caught by the middleware."""
    for exception in (*PROBLEMS, HTTPException):
        app.add_exception_handler(exception, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return problem_response(request, error)


def _detail(error: Exception, problem: Problem) -> str:
    if problem is INTERNAL_ERROR:
        return "The cause is in the service's log, under this answer's X-Request-ID."
    if isinstance(error, RequestValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    if isinstance(error, HTTPException):
        return "GET /docs lists every address and its methods."
    return str(error)
