"""How far a request has come, how long each stage took, and when it must be over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import DeadlineError
from .schemas import BranchScores

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from .tracing import RequestTrace


@dataclass(frozen=True)
class Verdict:
    """What one picture of the request scored."""

    probabilities: BranchScores
    anomalous: bool


@dataclass
class Progress:
    """One request: the stage it is in, the seconds that each stage took, what its pictures scored so far.

    `limit` in seconds from its start.
    """

    limit: float
    started: float = field(default_factory=time.monotonic)
    stage: str = "upload"
    seconds: dict[str, float] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    trace: RequestTrace | None = None  # where traces are wanted
    pictures: int = 1
    received: float | None = None  # when its body was in, a time of time.monotonic()

    def body_received(self) -> None:
        """From here on what takes time is the service's own doing."""
        self.received = time.monotonic()

    @property
    def since_received(self) -> float | None:
        """Seconds since the body was in; None before."""
        return None if self.received is None else time.monotonic() - self.received

    @property
    def deadline(self) -> float:
        """When it must be over, a time of time.monotonic()."""
        return self.started + self.limit

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def of_image(self) -> Progress:
        """That of one image of the request, under the same clock; it queues for its turn, and its verdict joins the others."""
        return Progress(self.limit, self.started, "queue", verdicts=self.verdicts, trace=self.trace)

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        self.stage = stage
        started = time.monotonic()
        try:
            yield
        except Exception as error:
            if self.trace is not None:
                self.trace.stage(stage, started, time.monotonic(), error=error)
            raise
        self.passed(stage, started, time.monotonic())

    def passed(self, stage: str, started: float, ended: float, batch: SpanContext | None = None) -> None:
        """Note a stage that is over, between two times of time.monotonic(); `batch` is the span of what it was computed in."""
        self.seconds[stage] = ended - started
        if self.trace is not None:
            self.trace.stage(stage, started, ended, batch)

    @contextlib.asynccontextmanager
    async def within_deadline(self) -> AsyncIterator[None]:
        """Cancel what the block awaits once the deadline has passed, and raise DeadlineError; at once if it has already."""
        if self.total >= self.limit:
            raise self._late()
        try:
            async with asyncio.timeout(self.deadline - time.monotonic()):
                yield
        except TimeoutError as error:
            raise self._late() from error

    def _late(self) -> DeadlineError:
        return DeadlineError(f"not done within {round(1000 * self.limit)} ms; it was at the stage '{self.stage}'")
