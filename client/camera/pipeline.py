"""One camera client: source, spool, sender and sinks, from start to stop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import stamina.instrumentation
import structlog
from prometheus_client import start_http_server

from ..async_client import AsyncDuetClient
from ..errors import ServiceUnreachableError
from .delivery import Delivery, Sink
from .frame import Spooled
from .metrics import Metrics
from .options import Options
from .sender import Deadline, Sender
from .sinks.command import Command
from .sinks.console import Console
from .sinks.files import Csv, JsonLines
from .sinks.webhook import Webhook
from .sources import Host
from .spool import Spool

_GRACE = 10.0  # seconds that a sink has for the verdict under way
_WARN_EVERY = 10.0  # seconds between warnings of one kind
_EXPECTED = 10_000  # frames in the spool at the start, whose deadline may lie ahead

log = structlog.stdlib.get_logger(__name__)


class Pipeline:
    """Runs until the source ends and all is delivered, until `stop`, or until something breaks, which `run` then raises."""

    def __init__(self, options: Options) -> None:
        self._options = options
        names = [name for name, _ in _sink_makers(options, lambda: None)]
        self._spool = Spool(options.spool, options.spool_bytes, options.spool_full, names)
        self._metrics = Metrics(self._spool)
        self._sender = Sender(
            self._spool,
            AsyncDuetClient(options.url, api_key=options.api_key),
            options.labels,
            self._metrics,
            deadline=Deadline(options.deadline, options.fail_safe),
            in_flight=options.in_flight,
            model=options.model,
            threshold=options.threshold,
        )
        self._stop = threading.Event()  # of the source and the sender
        self._stop_sinks = threading.Event()
        self._failure: BaseException | None = None
        self._source_ended = threading.Event()

    def stop(self) -> None:
        """Take no more frames; what is in the spool waits for the next start. Safe in a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Run to the end; raises what broke a thread."""
        stamina.instrumentation.set_on_retry_hooks([self._retried])
        options = self._options
        if options.metrics_port is not None:
            server, _ = start_http_server(options.metrics_port, options.metrics_host, self._metrics.registry)
            log.info("serving metrics", host=options.metrics_host, port=server.server_port)
        log.info("started", camera=options.labels.camera, service=options.url, frames_in_spool=self._spool.frames)
        sinks = [make() for _, make in _sink_makers(options, self._metrics.command_failures.inc)]
        deliveries = [Delivery(sink, self._spool, self._metrics, self._stop_sinks) for sink in sinks]
        source = self._thread("source", self._take_frames)
        sender = self._thread("sender", lambda: asyncio.run(self._sender.run()))
        delivering = [self._thread(delivery.sink.name, delivery.run) for delivery in deliveries]
        while not self._stop.wait(0.2):
            if self._source_ended.is_set() and self._spool.frames == 0:
                break
        self._stop.set()
        self._sender.stop()
        sender.join(_GRACE)
        self._stop_sinks.set()
        for thread in (source, *delivering):
            thread.join(_GRACE)
        if any(thread.is_alive() for thread in (source, sender, *delivering)):
            log.warning("a thread does not end; the spool has what it was about to do")
        else:
            self._spool.close()
        if self._failure is not None:
            raise self._failure
        log.info("stopped", frames_in_spool=self._spool.frames)

    def _thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        """A started thread whose exception stops everything and is raised by `run`."""

        def guarded() -> None:
            try:
                target()
            except BaseException as error:
                self._failure = self._failure or error
                self._stop.set()

        thread = threading.Thread(target=guarded, name=f"duet-{name}", daemon=True)
        thread.start()
        return thread

    def _take_frames(self) -> None:
        warned = late = -_WARN_EVERY
        for left_over in self._spool.waiting(0, _EXPECTED):  # by the process before this one
            self._expect(left_over)
        for frame in self._options.source.frames(self._stop, Host(self._spool, self._metrics.source_failures.inc)):
            before = self._spool.dropped
            spooled = self._spool.put(frame, self._stop)
            if dropped := self._spool.dropped - before:
                self._metrics.dropped.inc(dropped)
                if time.monotonic() - warned >= _WARN_EVERY:
                    warned = time.monotonic()
                    log.warning("the spool is full, old frames are dropped", dropped=self._spool.dropped)
            if spooled is None:
                if self._stop.is_set():
                    return
                continue
            self._metrics.frames.inc()
            if not self._expect(spooled) and time.monotonic() - late >= _WARN_EVERY:
                late = time.monotonic()
                log.warning(
                    "frames come after their deadline, without a fail-safe verdict: raise --deadline-ms, or set the clocks",
                    part=spooled.part, seconds=round(time.time() - spooled.taken, 3),
                )  # fmt: skip
        self._source_ended.set()

    def _expect(self, frame: Spooled) -> bool:
        """Let the sender look at a frame of the spool; False if its deadline has passed, so that it can be rejected no more."""
        deadline = self._options.deadline
        # a clock that is ahead of ours must not postpone the fail-safe verdict
        left = None if deadline is None else min(deadline, deadline - (time.time() - frame.taken))
        self._sender.expect(frame, time.monotonic() + left if left is not None and left > 0 else None)
        return left is None or left > 0

    def _retried(self, details: stamina.instrumentation.RetryDetails) -> None:
        self._metrics.retries.inc()
        if isinstance(details.caused_by, ServiceUnreachableError):
            self._sender.service_failed(details.caused_by)


def _sink_makers(options: Options, command_failed: Callable[[], None]) -> Iterator[tuple[str, Callable[[], Sink]]]:
    """Name and maker of each sink that is asked for."""
    jsonl, csv, webhook, mqtt, command = options.jsonl, options.csv, options.webhook, options.mqtt, options.on_verdict
    if not options.quiet:
        yield Console.name, Console
    if jsonl is not None:
        yield JsonLines.name, lambda: JsonLines(jsonl, options.rotate_bytes, options.rotate_keep)
    if csv is not None:
        yield Csv.name, lambda: Csv(csv, options.rotate_bytes, options.rotate_keep)
    if webhook is not None:
        yield Webhook.name, lambda: Webhook(webhook)
    if mqtt is not None:
        from .sinks.mqtt import Mqtt  # only here: paho is needed by nothing else

        yield Mqtt.name, lambda: Mqtt(mqtt, options.mqtt_password, options.labels)
    if command is not None:
        yield Command.name, lambda: Command(command, options.deadline, command_failed)
