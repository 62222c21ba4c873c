"""From the spool to the service and back: a bounded number of frames in flight, verdicts in the order of the frames."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue

import structlog

from ..async_client import AsyncDuetClient
from ..errors import BadPictureError, DuetError, ServiceFailedError
from ..results import ScoreResult
from .frame import Judgement, Labels, Reason, Spooled, Verdict
from .metrics import Metrics
from .spool import Spool

_FAILURES = 3  # of the service on one picture, until the picture is held to be the cause
_PAUSE = 1.0  # seconds after a call that used up its time
_IDLE = 0.5  # seconds between looks at the spool that nothing asked for

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Deadline:
    """From `seconds` after the picture was taken on, the verdict `fail_safe` stands."""

    seconds: float | None
    fail_safe: Judgement


@dataclass(eq=False)
class _InFlight:
    frame: Spooled
    answered: bool  # by the fail-safe verdict
    task: asyncio.Task[ScoreResult | DuetError | None] = field(init=False)


class Sender:
    """Scores what the spool holds. `run` returns after `stop`; `expect` may be called from any thread."""

    def __init__(
        self,
        spool: Spool,
        client: AsyncDuetClient,
        labels: Labels,
        metrics: Metrics,
        *,
        deadline: Deadline,
        in_flight: int,
        model: str | None,
        threshold: float | None,
    ) -> None:
        self._spool = spool
        self._client = client
        self._labels = labels
        self._metrics = metrics
        self._deadline = deadline
        self._limit = in_flight
        self._model = model
        self._threshold = threshold
        self._window: deque[_InFlight] = deque()
        self._taken: SimpleQueue[tuple[float, Spooled]] = SimpleQueue()  # by another thread, with their due times
        self._due: dict[int, tuple[float, Spooled]] = {}  # by sequence: monotonic time of the fail-safe verdict
        self._answered: set[int] = set()  # sequences with a fail-safe verdict and no other
        self._down = False
        self._last = 0  # sequence of the last frame in the window
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._stop = threading.Event()

    def expect(self, frame: Spooled, due: float | None) -> None:
        """Look at a frame that has just been spooled; `due` is the monotonic time of its fail-safe verdict."""
        if due is not None:
            self._taken.put((due, frame))
        self._notify()

    def service_failed(self, error: Exception) -> None:
        """Tell, once, that the service does not answer as it should; the frames wait."""
        self._metrics.service_up.set(0)
        if not self._down:
            self._down = True
            log.warning("the service fails; frames wait in the spool", reason=str(error))

    def stop(self) -> None:
        """Leave what is in flight; the spool still has it."""
        self._stop.set()
        self._notify()

    async def run(self) -> None:
        """Score until `stop`."""
        self._loop = asyncio.get_running_loop()
        try:
            while not self._stop.is_set():
                self._fill()
                self._wake.clear()
                self._give_fail_safe_verdicts()
                self._give_verdicts()
                if len(self._window) < self._limit and self._spool.waiting(self._last, 1):
                    continue
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._seconds_to_sleep())
        finally:
            self._loop = None
            tasks = [entry.task for entry in self._window]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.aclose()

    def _notify(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:  # it was closed just now
                log.debug("the sender has ended")

    def _seconds_to_sleep(self) -> float:
        return min(_IDLE, max(0.0, self._first_due() - time.monotonic()))

    def _first_due(self) -> float:
        return next((due for due, _ in self._due.values()), math.inf)

    def _fill(self) -> None:
        for frame in self._spool.waiting(self._last, self._limit - len(self._window)):
            entry = _InFlight(frame, frame.sequence in self._answered)
            entry.task = asyncio.create_task(self._score(frame))
            entry.task.add_done_callback(lambda _: self._wake.set())
            self._window.append(entry)
            self._last = frame.sequence

    def _give_fail_safe_verdicts(self) -> None:
        """For frames whose time has passed, whether in flight or still waiting. Scores that are there already go first."""
        while not self._taken.empty():
            due, frame = self._taken.get()
            self._due[frame.sequence] = (due, frame)
        while self._first_due() <= time.monotonic():
            self._give_verdicts()
            if self._first_due() > time.monotonic():
                continue
            _, frame = self._due.pop(next(iter(self._due)))
            if not self._decide(frame, self._deadline.fail_safe, "deadline", late=False, final=False):
                continue
            self._answered.add(frame.sequence)
            for entry in self._window:
                entry.answered |= entry.frame.sequence == frame.sequence

    def _give_verdicts(self) -> None:
        """In the order of the frames; but a frame that has its fail-safe verdict holds up only others that have."""
        kept: deque[_InFlight] = deque()
        while self._window:
            entry = self._window.popleft()
            if entry.task.done() and not (kept and entry.answered):
                self._give_verdict(entry)
                continue
            kept.append(entry)
            if not entry.answered:
                break
        self._window = kept + self._window

    def _give_verdict(self, entry: _InFlight) -> None:
        frame, outcome = entry.frame, entry.task.result()
        self._answered.discard(frame.sequence)
        late = entry.answered or (frame.sequence not in self._due and self._is_old(frame))
        if isinstance(outcome, ScoreResult):
            self._decide(frame, "bad" if outcome.anomalous else "good", "score", late=late, final=True, score=outcome)
        elif outcome is None:
            self._decide(frame, self._deadline.fail_safe, "dropped", late=late, final=True)
        else:
            log.warning("picture refused", id=frame.id, part=frame.part, reason=str(outcome))
            self._decide(frame, self._deadline.fail_safe, "refused", late=late, final=True, detail=str(outcome))

    def _decide(
        self,
        frame: Spooled,
        judgement: Judgement,
        reason: Reason,
        *,
        late: bool,
        final: bool,
        score: ScoreResult | None = None,
        detail: str | None = None,
    ) -> bool:
        """Tell the sinks; False if the frame has its verdict already."""
        now = time.time()
        verdict = Verdict(frame, self._labels, judgement, reason, late, now, score, detail)
        if final:
            self._due.pop(frame.sequence, None)
        told = self._spool.decide(frame.sequence, verdict.to_json(), final=final)
        if told:
            self._metrics.verdicts.labels(judgement, reason, str(late).lower()).inc()
            self._metrics.seconds.observe(max(0.0, now - frame.taken))
        return told

    def _is_old(self, frame: Spooled) -> bool:
        """Of a frame that nobody waited for, as it was taken before this process began: whether its time has passed."""
        return self._deadline.seconds is not None and time.time() - frame.taken > self._deadline.seconds

    async def _score(self, frame: Spooled) -> ScoreResult | DuetError | None:
        """The result, or the reason for which this picture can never have one, or None for one that was dropped from the full
        spool; whatever may pass is waited for.
        """
        failures = 0
        while True:
            picture = await asyncio.to_thread(self._spool.picture, frame.sequence)
            if picture is None:
                return None
            try:
                result = await self._client.score(
                    picture,
                    model=self._model,
                    threshold=self._threshold,
                    heatmap="none",
                    request_id=frame.id,
                    line=self._labels.line,
                    station=self._labels.station,
                    part=frame.part,
                )
            except BadPictureError as error:
                return error
            except DuetError as error:
                failures += isinstance(error, ServiceFailedError)
                if failures == _FAILURES:
                    return error
                self.service_failed(error)
                await asyncio.sleep(_PAUSE)
            else:
                if self._down:
                    self._down = False
                    log.info("the service answers again")
                self._metrics.service_up.set(1)
                return result
