"""Results for whoever listens: each listener has a bounded queue of its own, and one that reads too slowly is let go."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import TooManyListenersError
from .metrics import Metrics
from .schemas import ResultEvent

HISTORY = 200  # results without pictures, so that a page is not empty at first
_MAX_LISTENERS = 64
_MAX_WAITING = 64  # results that wait for one listener


@dataclass(frozen=True)
class Wanted:
    """Which results a listener wants; None is all of them."""

    model: str | None = None
    line: str | None = None
    anomalous: bool | None = None
    pictures: bool = False

    def covers(self, event: ResultEvent) -> bool:
        """Whether it wants this one."""
        return (
            self.model in (None, event.model.name)
            and self.line in (None, event.line)
            and self.anomalous in (None, event.anomalous)
        )


@dataclass(eq=False)
class Listener:
    """Somebody who is told of results; `lost` once it was let go."""

    wanted: Wanted
    lost: bool = False
    _waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, patience: float) -> tuple[int, bytes] | None:
        """Number and JSON of the next result; None if there is none within `patience` seconds, or ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._arrived.wait()
        if self.lost or not self._waiting:
            return None
        result = self._waiting.popleft()
        if not self._waiting:
            self._arrived.clear()
        return result

    def put(self, number: int, content: bytes) -> bool:
        """Queue a result; false where the queue is full."""
        if len(self._waiting) >= _MAX_WAITING:
            self.lost = True
            self._waiting.clear()
        else:
            self._waiting.append((number, content))
        self._arrived.set()
        return not self.lost


class Feed:
    """Tells listeners of results. Belongs to the event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._listeners: set[Listener] = set()
        self._history: deque[ResultEvent] = deque(maxlen=HISTORY)
        self._number = 0
        metrics.event_listeners.set_function(lambda: len(self._listeners))

    @property
    def wants_pictures(self) -> bool:
        """Whether anybody wants to see the pictures; nobody makes small ones otherwise."""
        return any(listener.wanted.pictures for listener in self._listeners)

    def next_number(self) -> int:
        """The number of the next result."""
        self._number += 1
        return self._number

    def publish(self, event: ResultEvent) -> None:
        """Tell everybody who wants it; never waits."""
        plain = event.model_copy(update={"picture": None, "heatmap": None})
        self._history.append(plain)
        listeners = [listener for listener in self._listeners if listener.wanted.covers(event)]
        if not listeners:
            return
        content = {kind: chosen.model_dump_json().encode() for kind, chosen in ((True, event), (False, plain))}
        for listener in listeners:
            if not listener.put(event.number, content[listener.wanted.pictures]):
                self._listeners.discard(listener)
                self._metrics.event_listeners_dropped.inc()

    @contextlib.contextmanager
    def listen(self, wanted: Wanted) -> Iterator[tuple[Listener, list[ResultEvent]]]:
        """A listener for as long as the block lasts, and the last results that it would have got, oldest first.

        Raises TooManyListenersError.
        """
        if len(self._listeners) >= _MAX_LISTENERS:
            raise TooManyListenersError(f"{_MAX_LISTENERS} listen already: close a page, or come back later")
        listener = Listener(wanted)
        self._listeners.add(listener)
        try:
            yield listener, [event for event in self._history if wanted.covers(event)]
        finally:
            self._listeners.discard(listener)
