"""One scoring call: what is sent, what is tried again and when, and until when. Shared by both clients."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import httpx

from .errors import (
    DeadlineError,
    DuetError,
    RateLimitedError,
    ServiceUnreachableError,
    UnavailableError,
    UnexpectedAnswerError,
    error_of,
)
from .results import HeatmapKind, HeatmapSize, ScoreResult

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = 30.0  # seconds, of a call with all its attempts
DEFAULT_IN_FLIGHT = 16  # two full batches of a service with default settings: one is computed, one fills

UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=None)  # score_many bounds the requests

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")  # what the service takes for one
_CONNECT_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 0.1, 5.0, 0.5  # seconds; doubled each time
_AGAIN = (ServiceUnreachableError, RateLimitedError, UnavailableError)


def checked_url(url: str) -> str:
    """The service's address; raises ValueError where it is none."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is no address of a service: give one such as {DEFAULT_URL}")
    return url


def key_header(api_key: str | None) -> dict[str, str]:
    """The header that carries an API key."""
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


@dataclass(frozen=True)
class Options:
    """What a call asks for."""

    model: str | None = None
    version: str | None = None
    threshold: float | None = None
    heatmap: HeatmapKind = "map"
    heatmap_size: HeatmapSize = "model"
    request_id: str | None = None
    line: str | None = None
    station: str | None = None
    part: str | None = None

    def __post_init__(self) -> None:
        if self.request_id is not None and not _REQUEST_ID.fullmatch(self.request_id):
            raise ValueError(f"request_id {self.request_id!r} is none: give 1 to 128 ASCII characters without spaces")

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the address."""
        given = {
            "model": self.model,
            "version": self.version,
            "threshold": None if self.threshold is None else repr(float(self.threshold)),
            "heatmap": self.heatmap,
            "heatmap_size": self.heatmap_size,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Labels of the request, as UTF-8 without what does not print."""
        given = {
            b"X-Request-ID": self.request_id,
            b"X-Duet-Line": self.line,
            b"X-Duet-Station": self.station,
            b"X-Duet-Part": self.part,
        }
        return {name: printable(value).encode() for name, value in given.items() if value is not None}


@dataclass
class Call:
    """The clock of one call and its attempts. `timeout` in seconds, from now on."""

    options: Options
    timeout: float
    _ends: float = field(init=False)
    _last: Exception | None = field(init=False, default=None)  # what the latest attempt failed of

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout {self.timeout} leaves no time: give seconds greater than 0")
        self._ends = time.monotonic() + self.timeout

    @property
    def remaining(self) -> float:
        """Seconds left; if there are none, raises why the latest attempt failed, or DeadlineError."""
        seconds = self._ends - time.monotonic()
        if seconds <= 0:
            raise self._last or DeadlineError(f"no answer within {self.timeout:g} s")
        return seconds

    def request(self, http: httpx.Client | httpx.AsyncClient, body: bytes) -> httpx.Request:
        """The next attempt; it tells the service how much time is left."""
        remaining = self.remaining
        milliseconds = str(max(1, int(1000 * remaining))).encode()
        headers = {b"Content-Type": b"application/octet-stream", b"X-Request-Timeout-Ms": milliseconds, **self.options.headers}
        timeout = httpx.Timeout(remaining, connect=min(remaining, _CONNECT_SECONDS))
        return http.build_request("POST", "/score", params=self.options.query, content=body, headers=headers, timeout=timeout)

    def result(self, response: httpx.Response) -> ScoreResult:
        """What the answer holds; raises the DuetError that it stands for."""
        if response.status_code != 200:
            raise error_of(response)
        return ScoreResult.from_json(response.content, self.options.heatmap)

    def failure(self, error: httpx.RequestError) -> DuetError:
        """What a failure below HTTP, or an answer that cannot be decoded, means to the caller."""
        if isinstance(error, httpx.DecodingError):
            return UnexpectedAnswerError(f"{error.request.url.copy_with(query=None)}: the answer cannot be decoded: {error}")
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
            return DeadlineError(f"no answer within {self.timeout:g} s")
        return ServiceUnreachableError(f"{error.request.url.copy_with(query=None)}: {str(error) or type(error).__name__}")

    def backoff(self) -> Callable[[Exception], float | Literal[False]]:
        """A hook for stamina: seconds to wait before the next attempt, False where none makes sense or fits in the time.

        Retry-After is the shortest wait; what is added by chance keeps many clients from coming back at the same moment.
        """
        wait = _FIRST_WAIT

        def hook(error: Exception) -> float | Literal[False]:
            nonlocal wait
            self._last = error
            if not isinstance(error, _AGAIN):
                return False
            asked = getattr(error, "retry_after", None) or 0.0
            seconds: float = max(wait, asked) + random.uniform(0, _JITTER * max(wait, asked))
            wait = min(2 * wait, _LONGEST_WAIT)
            return seconds if time.monotonic() + seconds < self._ends else False

        return hook


def printable(text: str) -> str:
    """The text with a space for each character that does not print, and none around it."""
    return "".join(character if character.isprintable() else " " for character in text).strip()
