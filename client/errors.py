"""What can go wrong when a picture is scored. Every exception is a DuetError; the message says what to do."""

from __future__ import annotations

import json

import httpx

_PROBLEM_MEDIA_TYPE = "application/problem+json"


class DuetError(Exception):
    """A picture that was not scored."""


class ServiceUnreachableError(DuetError):
    """No connection, or one that broke before the answer was there."""


class DeadlineError(DuetError, TimeoutError):
    """The time given to the call has passed."""


class UnexpectedAnswerError(DuetError):
    """An answer that is none of Duet's: something else listens at this address, or its version differs."""


class ProblemError(DuetError):
    """A refusal, with what its problem details (RFC 9457) say.

    `type` is the stable identifier of the kind of problem, `retry_after` in seconds, `request_id` finds the service's log line.
    """

    def __init__(self, status: int, type_: str, title: str, detail: str, retry_after: float | None, request_id: str | None):
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status = status
        self.type = type_
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        self.request_id = request_id


class BadPictureError(ProblemError):
    """No picture, a damaged one, one of a format that is not accepted, or one that is too large (400, 413, 415)."""


class BadParameterError(ProblemError):
    """A parameter that is out of range, or not for this model (406, 422)."""


class NotAllowedError(ProblemError):
    """The API key is missing, unknown, or may not do this (401, 403)."""


class UnknownModelError(ProblemError):
    """No such model or version is served, or the address has no Duet behind it (404)."""


class RateLimitedError(ProblemError):
    """This client asks more often than it may (429)."""


class UnavailableError(ProblemError):
    """Queue full, shutting down, no model ready, or no service behind the proxy (502, 503): again later."""


class ServiceFailedError(ProblemError):
    """The service itself failed (500); its log says why, under `request_id`."""


_BY_STATUS: dict[int, type[ProblemError]] = {
    400: BadPictureError,
    401: NotAllowedError,
    403: NotAllowedError,
    404: UnknownModelError,
    406: BadParameterError,
    413: BadPictureError,
    415: BadPictureError,
    422: BadParameterError,
    429: RateLimitedError,
    500: ServiceFailedError,
    502: UnavailableError,
    503: UnavailableError,
}


def error_of(response: httpx.Response) -> DuetError:
    """The exception that an answer other than 200 stands for."""
    problem = _problem(response)
    if response.status_code == 504:
        return DeadlineError(f"504: {problem.get('detail') or 'the service answered that the deadline has passed'}")
    return _BY_STATUS.get(response.status_code, ProblemError)(
        response.status_code,
        problem.get("type", "about:blank"),
        problem.get("title", response.reason_phrase),
        problem.get("detail", ""),
        _retry_after(response),
        response.headers.get("X-Request-ID"),
    )


def _problem(response: httpx.Response) -> dict[str, str]:
    """Members of the problem body that are text; none where a proxy answered in Duet's place."""
    if response.headers.get("Content-Type", "").split(";")[0].strip() != _PROBLEM_MEDIA_TYPE:
        return {}
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    return {name: value for name, value in body.items() if isinstance(value, str)} if isinstance(body, dict) else {}


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; None where the header is absent or is a date, which Duet never sends."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
