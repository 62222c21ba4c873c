"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Self

import httpx
import stamina

from .calls import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL, UNLIMITED, Call, Options, checked_url, key_header
from .errors import DeadlineError, DuetError
from .pictures import Picture, picture_bytes
from .results import HeatmapKind, HeatmapSize, ScoreResult

_AFTER_HTTPX = 0.1  # seconds: its own limits tell whether nobody listens or nobody answers, and know no body that trickles


class AsyncDuetClient:
    """DuetClient for asyncio, with the same arguments, results and exceptions. Close it with `aclose`, or use `async with`."""

    def __init__(self, url: str = DEFAULT_URL, *, api_key: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout
        self._http = httpx.AsyncClient(base_url=checked_url(url), headers=key_header(api_key), limits=UNLIMITED)

    async def score(
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
        """As DuetClient.score."""
        options = Options(model, version, threshold, heatmap, heatmap_size, request_id, line, station, part)
        return await self._score(picture, options, timeout)

    async def score_many(
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
    ) -> AsyncIterator[ScoreResult | DuetError | OSError]:
        """As DuetClient.score_many."""
        if in_flight < 1:
            raise ValueError(f"in_flight {in_flight} sends nothing: give 1 or more")
        options = Options(model, version, threshold, heatmap, heatmap_size)
        waiting: deque[asyncio.Task[ScoreResult | DuetError | OSError]] = deque()
        try:
            for picture in pictures:
                waiting.append(asyncio.create_task(self._outcome(picture, options, timeout)))
                if len(waiting) >= in_flight:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _outcome(self, picture: Picture, options: Options, timeout: float | None) -> ScoreResult | DuetError | OSError:
        try:
            return await self._score(picture, options, timeout)
        except (DuetError, OSError) as error:
            return error

    async def _score(self, picture: Picture, options: Options, timeout: float | None) -> ScoreResult:
        body = await asyncio.to_thread(picture_bytes, picture)  # reads a file, or encodes
        call = Call(options, self._timeout if timeout is None else timeout)
        async for attempt in stamina.retry_context(on=call.backoff(), attempts=None, timeout=None):
            with attempt:
                try:
                    async with asyncio.timeout(call.remaining + _AFTER_HTTPX):
                        return call.result(await self._http.send(call.request(self._http, body)))
                except httpx.RequestError as error:
                    raise call.failure(error) from error
                except TimeoutError as error:
                    if isinstance(error, DeadlineError):
                        raise
                    raise DeadlineError(f"no answer within {call.timeout:g} s") from error
        raise AssertionError("stamina ends with a result or an exception")
