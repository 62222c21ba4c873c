"""The client for threads."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import httpx
import stamina

from .calls import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL, UNLIMITED, Call, Options, checked_url, key_header
from .errors import DuetError
from .pictures import Picture, picture_bytes
from .results import HeatmapKind, HeatmapSize, ScoreResult


class DuetClient:
    """Scores pictures. Connections are kept and reused; one client may serve many threads. Close it, or use `with`.

    `timeout` in seconds is the time that a call has with all its attempts; the service is told what is left of it. While time
    is left, a call is tried again after a broken connection, 429, 502 and 503, with growing waits that honour Retry-After.
    """

    def __init__(self, url: str = DEFAULT_URL, *, api_key: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout
        self._http = httpx.Client(base_url=checked_url(url), headers=key_header(api_key), limits=UNLIMITED)

    def score(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        version: str | None = None,
        threshold: float | None = None,
        heatmap: HeatmapKind = "map",
        heatmap_size: HeatmapSize = "model",
        timeout: float | None = None,
        request_id: str | None = None,
        line: str | None = None,
        station: str | None = None,
        part: str | None = None,
    ) -> ScoreResult:
        """Score a path, a file's bytes, an array (see `Picture`) or a Pillow image.

        `threshold` in [0, 1]; `request_id`, of ASCII without spaces, comes back as the result's `id`; `line`, `station` and
        `part` tell the service where the picture comes from, and change no score. Raises a DuetError, OSError for a path that
        cannot be read, TypeError or ValueError for what is no picture.
        """
        options = Options(model, version, threshold, heatmap, heatmap_size, request_id, line, station, part)
        return self._score(picture, options, timeout)

    def score_many(
        self,
        pictures: Iterable[Picture],
        *,
        in_flight: int = DEFAULT_IN_FLIGHT,
        model: str | None = None,
        version: str | None = None,
        threshold: float | None = None,
        heatmap: HeatmapKind = "map",
        heatmap_size: HeatmapSize = "model",
        timeout: float | None = None,
    ) -> Iterator[ScoreResult | DuetError | OSError]:
        """Score pictures with at most `in_flight` requests at a time, and give their results in the order of the pictures.

        A picture that cannot be scored or read gives its exception in its place, and the others are scored. `timeout` in
        seconds is each picture's own. Pictures are taken from the iterable as results are taken.
        """
        options = Options(model, version, threshold, heatmap, heatmap_size)
        waiting: deque[Future[ScoreResult | DuetError | OSError]] = deque()
        with ThreadPoolExecutor(in_flight, "duet-score") as pool:
            try:
                for picture in pictures:
                    waiting.append(pool.submit(self._outcome, picture, options, timeout))
                    if len(waiting) >= in_flight:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _outcome(self, picture: Picture, options: Options, timeout: float | None) -> ScoreResult | DuetError | OSError:
        try:
            return self._score(picture, options, timeout)
        except (DuetError, OSError) as error:
            return error

    def _score(self, picture: Picture, options: Options, timeout: float | None) -> ScoreResult:
        body = picture_bytes(picture)
        call = Call(options, self._timeout if timeout is None else timeout)
        for attempt in stamina.retry_context(on=call.backoff(), attempts=None, timeout=None):
            with attempt:
                try:
                    return call.result(self._exchange(call, body))
                except httpx.RequestError as error:
                    raise call.failure(error) from error
        raise AssertionError("stamina ends with a result or an exception")

    def _exchange(self, call: Call, body: bytes) -> httpx.Response:
        """The whole answer; httpx's own limits hold for each piece of it, however slowly they come."""
        request = call.request(self._http, body)
        with contextlib.closing(self._http.send(request, stream=True)) as answer:
            request.extensions["timeout"]["read"] = call.remaining  # the head of the answer has taken some of it
            pieces = []
            for piece in answer.iter_raw():
                pieces.append(piece)
                _ = call.remaining
        return httpx.Response(answer.status_code, headers=answer.headers, content=b"".join(pieces), request=request)
