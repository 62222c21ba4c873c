"""Exception → status and RFC 9457 problem body, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .images import TooManyPixelsError, UnreadableImageError, UnsupportedImageError
from .schemas import ProblemBody

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:duet:problem:"
PROTOCOL_PATH = "/v2/"  # of the Open Inference Protocol

log = structlog.stdlib.get_logger(__name__)


class ServiceError(Exception):
    """A request that cannot be answered; the message is the problem's detail."""


class MalformedBodyError(ServiceError):
    """A body that does not follow its own format."""


class BadTensorError(ServiceError):
    """Tensors of an inference request that are not those of the model."""


class UnsupportedExtensionError(ServiceError):
    """A part of the Open Inference Protocol that Duet does not have."""


class UnauthorizedError(ServiceError):
    """No API key, or an unknown one."""

    headers: Final = MappingProxyType({"WWW-Authenticate": "Bearer"})


class ForbiddenError(ServiceError):
    """A key that may not do this."""


class RateLimitedError(ServiceError):
    """A client over DUET_RATE_LIMIT. `retry_after` in seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(retry_after)}


class UnknownModelError(ServiceError):
    """No such model, or no such version of it, is being served."""


class UnknownResultError(ServiceError):
    """Feedback on a result whose picture is not there any more, or never was."""


class NoArchiveError(ServiceError):
    """Feedback, where no picture is kept."""


class ArchiveFailedError(ServiceError):
    """Feedback that cannot be written down."""


class TooManyListenersError(ServiceError):
    """Nobody else can be told of results."""


class ModelRefusedError(ServiceError):
    """A model file that cannot be loaded: broken, out of contract, too large, or not for what this machine has."""


class TooManyBytesError(ServiceError):
    """A body over DUET_MAX_BYTES."""


class TooManyImagesError(ServiceError):
    """More pictures in one request than it may have."""


class AnswerTooLargeError(ServiceError):
    """Heatmaps of a batch that are more than its answer may hold."""


class NotAcceptableError(ServiceError):
    """An Accept header that allows no form of the answer."""


class UnsupportedContentTypeError(ServiceError):
    """A Content-Type that holds no picture."""


class UnsupportedEncodingError(ServiceError):
    """A Content-Encoding that is not undone."""


class BadParameterError(ServiceError):
    """Parameters that are valid one by one, but not together or not for this model."""


class QueueFullError(ServiceError):
    """DUET_MAX_QUEUE images wait already."""


class UploadsFullError(ServiceError):
    """Requests' bodies fill the memory that is set aside for them."""


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
    BadTensorError: Problem(400, "bad-tensor", "Bad tensor"),
    UnsupportedExtensionError: Problem(400, "unsupported-extension", "Not supported"),
    UnauthorizedError: Problem(401, "unauthorized", "No valid API key"),
    ForbiddenError: Problem(403, "forbidden", "Not allowed with this API key"),
    UnknownModelError: Problem(404, "unknown-model", "Unknown model"),
    UnknownResultError: Problem(404, "unknown-result", "Unknown result"),
    NotAcceptableError: Problem(406, "not-acceptable", "No acceptable form of the answer"),
    ModelRefusedError: Problem(409, "model-refused", "Model file refused"),
    NoArchiveError: Problem(409, "no-archive", "No picture is kept"),
    TooManyBytesError: Problem(413, "too-many-bytes", "Too many bytes"),
    AnswerTooLargeError: Problem(413, "answer-too-large", "Answer too large"),
    TooManyImagesError: Problem(413, "too-many-images", "Too many images"),
    TooManyPixelsError: Problem(413, "too-many-pixels", "Too many pixels"),
    UnsupportedContentTypeError: Problem(415, "unsupported-content-type", "Content type not accepted"),
    UnsupportedEncodingError: Problem(415, "unsupported-encoding", "Content encoding not accepted"),
    UnsupportedImageError: Problem(415, "unsupported-image", "Image format not accepted"),
    BadParameterError: Problem(422, "bad-parameter", "Bad parameter"),
    RequestValidationError: Problem(422, "bad-parameter", "Bad parameter"),
    RateLimitedError: Problem(429, "rate-limited", "Too many requests", retry_after=1),
    ClientDisconnect: Problem(499, "client-gone", "Client went away"),  # logged and counted; nobody is there to read it
    InferenceError: Problem(500, "inference-failed", "Inference failed"),
    QueueFullError: Problem(503, "queue-full", "Queue full", retry_after=1),
    UploadsFullError: Problem(503, "uploads-full", "Too many uploads at once", retry_after=1),
    DrainingError: Problem(503, "draining", "Shutting down", retry_after=5),
    NoModelError: Problem(503, "no-model", "No model is ready", retry_after=2),
    OutOfMemoryError: Problem(503, "out-of-memory", "Out of memory", retry_after=5),
    ArchiveFailedError: Problem(503, "archive-failed", "The archive cannot be written"),
    TooManyListenersError: Problem(503, "too-many-listeners", "Too many listeners", retry_after=10),
    DeadlineError: Problem(504, "deadline-passed", "Deadline passed"),
}

_ABSENT = "none_required"  # that a parameter could have been left out

_HTTP_PROBLEMS = {
    404: Problem(404, "not-found", "No such address"),
    405: Problem(405, "method-not-allowed", "Method not allowed"),
}


def problem_of(error: Exception) -> Problem:
    """The kind of answer that an exception stands for; an unforeseen one is an internal error."""
    if isinstance(error, HTTPException):
        return _HTTP_PROBLEMS.get(error.status_code, Problem(error.status_code, f"http-{error.status_code}", "Request refused"))
    return PROBLEMS.get(type(error), INTERNAL_ERROR)


def problem_body(request: Request, error: Exception) -> ProblemBody:
    """What the client is told of `error`. A failure is logged, and what is inside an internal error goes to the log alone."""
    problem = problem_of(error)
    if problem.is_failure:
        log.error("request failed", problem=problem.slug, exc_info=error)
    return ProblemBody(
        type=problem.type,
        title=problem.title,
        status=problem.status,
        detail=_detail(error, problem),
        instance=request.url.path,
    )


def problem_response(request: Request, error: Exception) -> JSONResponse:
    """The answer to `error`: problem+json, or what the Open Inference Protocol wants under its own paths."""
    problem, body = problem_of(error), problem_body(request, error)
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    headers |= getattr(error, "headers", None) or {}
    if f"{request.scope['path']}/".startswith(PROTOCOL_PATH):
        return JSONResponse({"error": f"{body.title}: {body.detail}"}, problem.status, headers)
    return JSONResponse(body.model_dump(), problem.status, headers, PROBLEM_MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every foreseen exception, and Starlette's own, with a problem. The unforeseen are caught by the middleware."""
    for exception in (*PROBLEMS, HTTPException):
        app.add_exception_handler(exception, _handle)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return problem_response(request, error)


def _reason(error: dict[str, Any]) -> str:
    """Of parameters pydantic names which of its alternatives it tried, too, which says nothing to a client."""
    place, *path = error["loc"]
    return f"{'.'.join(map(str, path if place == 'body' else path[:1]))}: {error['msg']}"


def _detail(error: Exception, problem: Problem) -> str:
    if problem is INTERNAL_ERROR:
        return "The cause is in the service's log, under this answer's X-Request-ID."
    if isinstance(error, RequestValidationError):
        return "; ".join(dict.fromkeys(_reason(e) for e in error.errors() if e["type"] != _ABSENT))
    if isinstance(error, HTTPException):
        return "GET /docs lists every address and its methods, unless DUET_DOCS turned it off."
    return str(error)
