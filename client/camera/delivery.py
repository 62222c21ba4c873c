"""From the spool to one sink: verdicts one by one, in order, each again and again until the sink has it."""

from __future__ import annotations

import threading
from typing import Protocol

import structlog

from .metrics import Metrics
from .spool import Spool

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 15.0  # seconds; doubled each time

log = structlog.stdlib.get_logger(__name__)


class Sink(Protocol):
    """Where verdicts go."""

    name: str

    def deliver(self, body: str) -> None:
        """Return once this verdict (a line of JSON) is in safe hands; any exception means that it is not."""

    def close(self) -> None:
        """Let go of files and connections."""


class Delivery:
    """One sink's thread."""

    def __init__(self, sink: Sink, spool: Spool, metrics: Metrics, stop: threading.Event) -> None:
        self.sink = sink
        self._spool = spool
        self._stop = stop
        self._delivered = metrics.delivered.labels(sink.name)
        self._failures = metrics.delivery_failures.labels(sink.name)

    def run(self) -> None:
        """Deliver until `stop`, then close the sink."""
        try:
            while not self._stop.is_set():
                with self._spool.changed:
                    verdict = self._spool.next_verdict(self.sink.name)
                    if verdict is None:
                        self._spool.changed.wait(0.5)
                        continue
                number, body = verdict
                if self._deliver(body):
                    self._spool.delivered(self.sink.name, number)
                    self._delivered.inc()
        finally:
            self.sink.close()

    def _deliver(self, body: str) -> bool:
        """Whether the sink has it; False only when stopped."""
        wait, failed = _FIRST_WAIT, False
        while not self._stop.is_set():
            try:
                self.sink.deliver(body)
            except Exception as error:  # each sink has its own kinds; none may end the line's deliveries
                self._failures.inc()
                log.warning("not delivered, tried again", sink=self.sink.name, reason=f"{type(error).__name__}: {error}")
                failed = True
                self._stop.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                if failed:
                    log.info("delivered again", sink=self.sink.name)
                return True
        return False
