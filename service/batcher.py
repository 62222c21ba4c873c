"""The queue between requests and the engines: bounded, with a deadline an entry, emptied by one thread an engine.

A thread takes its share of what waits the moment its engine is free; while it computes, the next batch gathers. Nobody
ever waits for an answer that cannot come: every entry is answered, withdrawn by its request, or refused when the last
engine is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from .buffers import Outputs
from .engine import Engine
from .errors import DeadlineError, DrainingError, InferenceError, NoModelError, QueueFullError, ServiceError
from .images import Pixels
from .metrics import ModelMetrics

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from .tracing import RequestTrace

_STOPPED = "the model's engine has stopped: see the service's log, then restart the service"
_STUCK = "the model's engine has computed one batch for longer than any request may take: if that lasts, restart the service"
ENGINE_THREAD = "engine"  # its name
_LOOK = 0.1  # seconds between two looks at an engine that closes

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Inference:
    """One image's part of a batch, and how long it waited and was computed, in seconds."""

    outputs: Outputs  # each [...] without the batch dimension
    queue_seconds: float
    inference_seconds: float
    batch: SpanContext | None = None  # of its trace, where traces are wanted


@dataclass(eq=False)
class Entry:
    """One admitted image; `taken` once the engine has it. `deadline` and `enqueued` are times of time.monotonic()."""

    deadline: float
    pixels: Pixels | None = None
    enqueued: float = 0.0
    taken: bool = False
    trace: RequestTrace | None = None
    future: asyncio.Future[Inference] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Runs engines of one model for many requests at once. `admit` and `compute` belong to the event loop."""

    def __init__(
        self, engines: Sequence[Engine], capacity: int, max_delay: float, patience: float, metrics: ModelMetrics
    ) -> None:
        """`capacity` bounds the images that are being decoded or wait. `max_delay` and `patience` in seconds: no request
        waits for longer than `patience`, so an engine that computes for longer is stuck."""
        self._capacity, self._max_delay, self._patience, self._metrics = capacity, max_delay, patience, metrics
        self._admitted: set[Entry] = set()
        self._waiting: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._alive = len(engines)
        self._computing: dict[Engine, float] = {}  # when each began its batch, a time of time.monotonic()
        metrics.watch_queue(lambda: len(self._admitted), self._oldest_age, capacity)
        self._threads = {
            engine: threading.Thread(target=self._work, args=(engine,), name=ENGINE_THREAD, daemon=True) for engine in engines
        }
        for thread in self._threads.values():
            thread.start()

    @property
    def fault(self) -> str | None:
        """Why no engine answers; None while one does."""
        if not self._alive:
            return _STOPPED
        return _STUCK if self.stuck >= self._alive else None

    @property
    def stuck(self) -> int:
        """Engines whose batch nobody waits for any more. One may come back: a machine that was suspended looks the same."""
        return sum(self._is_stuck(engine) for engine in self._threads)

    @property
    def lost(self) -> int:
        """Engines that do not answer, ended or stuck. The others go on with less."""
        return len(self._threads) - self._alive + self.stuck

    def ensure_room(self) -> None:
        """Raise what `admit` would raise now: whoever must wait for a body asks before it reads it."""
        with self._changed:
            self._ensure_room()

    @contextlib.contextmanager
    def admit(self, deadline: float) -> Iterator[Entry]:
        """Hold a place for one image, from before it is decoded until the engine takes it or the block is left.

        Raises QueueFullError, DrainingError, or NoModelError if the engine has died.
        """
        entry = Entry(deadline)
        with self._changed:
            self._ensure_room()
            self._admitted.add(entry)
        try:
            yield entry
        finally:
            self._withdraw(entry)

    async def compute(self, entry: Entry, pixels: Pixels) -> Inference:
        """Wait for the outputs of model input `pixels`, uint8 [H, W, 3]; cancelling it takes the image out of the queue.

        Raises DeadlineError, InferenceError, or NoModelError if the engine dies meanwhile.
        """
        with self._changed:
            if not self._alive:
                raise NoModelError(_STOPPED)
            entry.pixels, entry.enqueued = pixels, time.monotonic()
            self._waiting.append(entry)
            self._changed.notify()
        return await entry.future

    def close(self) -> None:
        """Refuse new images, compute those admitted, end the threads and let go of their engines; blocks until then. Leaves an
        engine behind that is stuck: what comes after must not hang with it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for engine, thread in self._threads.items():
            while thread.is_alive() and not self._is_stuck(engine):
                thread.join(_LOOK)
        # a model's gauges and its batcher hold each other: its memory would wait for Python's collector
        self._threads = {engine: thread for engine, thread in self._threads.items() if thread.is_alive()}
        if self.stuck:
            log.error("leaving an engine behind that is stuck", engines=self.stuck)

    def _is_stuck(self, engine: Engine) -> bool:
        began = self._computing.get(engine)
        return began is not None and time.monotonic() - began > self._patience

    def _ensure_room(self) -> None:
        if fault := self.fault:
            raise NoModelError(fault)
        if self._closing:
            raise DrainingError("the model is being taken out of service: send the request again")
        if len(self._admitted) >= self._capacity:
            raise QueueFullError(f"{self._capacity} images are waiting already (DUET_MAX_QUEUE): send the request again later")

    def _withdraw(self, entry: Entry) -> None:
        with self._changed:
            self._admitted.discard(entry)
            if entry in self._waiting:
                self._waiting.remove(entry)
            if self._closing:
                self._changed.notify_all()
        entry.future.cancel()

    def _oldest_age(self) -> float:
        with self._changed:
            return time.monotonic() - self._waiting[0].enqueued if self._waiting else 0.0

    def _work(self, engine: Engine) -> None:
        left: list[Entry] = []
        try:
            while batch := self._next_batch(engine.max_batch_size):
                if not self._compute(engine, batch):
                    break
        finally:
            with self._changed:
                self._alive -= 1
                if not self._alive:
                    left = list(self._waiting)
                    self._waiting.clear()
                self._changed.notify_all()
            _refuse(left, NoModelError, _STOPPED)

    def _next_batch(self, largest: int) -> list[Entry]:
        """Block until images wait, and take them; an empty list says that the work is done."""
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing and not self._admitted:
                        return []
                    self._changed.wait()
                self._gather(largest)
                # An even share each: a batch on a CPU takes as long as its pictures, and the last would wait for all of them.
                share = math.ceil(len(self._waiting) / self._alive)
                taken = [self._waiting.popleft() for _ in range(min(share, largest))]
                for entry in taken:
                    entry.taken = True
                    self._admitted.discard(entry)
                if self._closing:
                    self._changed.notify_all()
            now = time.monotonic()
            _refuse([entry for entry in taken if entry.deadline <= now], DeadlineError, "the deadline passed in the queue")
            if batch := [entry for entry in taken if entry.deadline > now and not entry.future.cancelled()]:
                return batch

    def _gather(self, largest: int) -> None:
        """Give a batch `max_delay` from its oldest image to fill up; called with the lock held."""
        while self._waiting and len(self._waiting) < largest and not self._closing:
            remaining = self._waiting[0].enqueued + self._max_delay - time.monotonic()
            if remaining <= 0:
                return
            self._changed.wait(remaining)

    def _compute(self, engine: Engine, batch: list[Entry]) -> bool:
        """Answer a batch; False if the engine is dead, which is: it cannot even compute a black picture."""
        self._metrics.batches.inc()
        self._metrics.images.inc(len(batch))
        self._metrics.batch_size.observe(len(batch))
        self._computing[engine] = started = time.monotonic()
        try:
            outputs = engine.run([entry.pixels for entry in batch if entry.pixels is not None])
            parts = [{name: value[row] for name, value in outputs.items()} for row in range(len(batch))]
        except Exception as error:
            _trace(batch, started, error)
            log.exception("inference failed", images=len(batch))
            _refuse(batch, InferenceError, "the model could not compute this batch; the cause is in the service's log", error)
            return _revive(engine)
        finally:
            del self._computing[engine]
        seconds = time.monotonic() - started
        span = _trace(batch, started)
        for part, entry in zip(parts, batch, strict=True):
            _post(entry, Inference(part, started - entry.enqueued, seconds, span))
        return True


def _trace(batch: list[Entry], started: float, error: Exception | None = None) -> SpanContext | None:
    traces = [entry.trace for entry in batch if entry.trace is not None and entry.trace.recorded]
    return traces[0].batch(traces, len(batch), started, time.monotonic(), error) if traces else None


def _revive(engine: Engine) -> bool:
    try:
        engine.probe()
    except Exception:
        log.exception("the engine is dead")
        return False
    return True


def _refuse(entries: list[Entry], kind: type[ServiceError], detail: str, cause: Exception | None = None) -> None:
    for entry in entries:
        answer = kind(detail)
        answer.__cause__ = cause
        _post(entry, answer)


def _post(entry: Entry, answer: Inference | ServiceError) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has been closed: its request is gone with it
        entry.future.get_loop().call_soon_threadsafe(_settle, entry.future, answer)


def _settle(future: asyncio.Future[Inference], answer: Inference | ServiceError) -> None:
    if future.done():
        return
    if isinstance(answer, ServiceError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
