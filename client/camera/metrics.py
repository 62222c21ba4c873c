"""Every collector of the camera client, and nothing else."""

from __future__ import annotations

import time
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .spool import Spool

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The collectors of one process, in a registry of its own."""

    def __init__(self, spool: Spool) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self.frames = counter("duet_camera_frames_total", "Frames that are safe in the spool")
        self.dropped = counter("duet_camera_dropped_total", "Frames dropped from a full spool")
        self.verdicts = counter("duet_camera_verdicts_total", "Verdicts given", ["verdict", "reason", "late"])
        self.seconds = Histogram(
            "duet_camera_verdict_seconds", "From the picture taken to its verdict", buckets=_SECONDS, registry=self.registry
        )
        self.retries = counter("duet_camera_retries_total", "Attempts to score that failed and are made again")
        self.service_up = gauge("duet_camera_service_up", "1 once the service has answered, 0 from a failure on")
        self.delivered = counter("duet_camera_delivered_total", "Verdicts that a sink has taken", ["sink"])
        self.delivery_failures = counter("duet_camera_delivery_failures_total", "Deliveries that failed", ["sink"])
        self.command_failures = counter("duet_camera_command_failures_total", "Commands that failed, or came too late")
        self.source_failures = counter("duet_camera_source_failures_total", "Cameras lost or not opened, files not read")
        gauge("duet_camera_spool_frames", "Frames in the spool").set_function(lambda: spool.frames)
        gauge("duet_camera_spool_bytes", "Bytes of the pictures in the spool").set_function(lambda: spool.bytes)
        gauge("duet_camera_spool_capacity_bytes", "Bytes of pictures it may hold").set(spool.capacity)
        gauge("duet_camera_spool_oldest_seconds", "Age of the oldest frame in the spool; 0 if there is none").set_function(
            lambda: _age(spool.oldest())
        )


def _age(taken: float | None) -> float:
    return 0.0 if taken is None else max(0.0, time.time() - taken)
