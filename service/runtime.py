"""What the parts of one running service share."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

from fastapi import Request

from .archive import Archive
from .batcher import ENGINE_THREAD
from .errors import DrainingError, NoModelError, ServiceError
from .feed import Feed
from .metrics import Metrics
from .rate_limit import RateLimit
from .repository import Repository
from .settings import Settings
from .upload_budget import UploadBudget
from .worker_pool import WorkerPool

if TYPE_CHECKING:
    from .tracing import Tracing


class Runtime:
    """Settings, collectors, models and threads of one application; `draining` is set once it is told to stop."""

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        self.settings, self.tracing = settings, tracing
        self.metrics = Metrics()
        self.repository = Repository(settings, self.metrics)
        # Decodes and heatmaps share it. So a backlog of heatmaps holds the decodes back, these keep their places in the queue,
        # and a full queue refuses: nothing grows without bound.
        self.pictures = WorkerPool("pictures", settings.decode_threads, settings.request_timeout_ms / 1000)
        self.uploads = UploadBudget(settings.max_bytes)
        self.rate_limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
        self.feed = Feed(self.metrics)
        self.archive = Archive(settings.archive, settings, self.metrics) if settings.archive else None
        self.draining = False
        self.failed = False
        self.metrics.ready.set_function(lambda: self.fault is None)

    @property
    def fault(self) -> ServiceError | None:
        """Why it is not ready; None while it is."""
        if self.draining:
            return DrainingError("the service is shutting down")
        if self.defect is None and not self.repository.ready:
            return NoModelError("no model is loaded, or one is still loading: see GET /models and the service's log")
        return self.defect

    @property
    def defect(self) -> ServiceError | None:
        """What a restart mends, and nothing else if it lasts; None while there is no such thing."""
        if fault := self.repository.fault:
            return NoModelError(fault)
        if self.pictures.stuck:
            return NoModelError("every thread for pictures is stuck: restart the service, and raise DUET_DECODE_THREADS")
        return None

    @property
    def left_behind(self) -> int:
        """Threads that still work, once all is closed: for requests that have been answered long since."""
        archiving = self.archive.busy if self.archive else 0
        engines = sum(thread.name == ENGINE_THREAD for thread in threading.enumerate())
        return archiving + self.repository.reading + self.pictures.busy + engines

    async def close(self) -> None:
        """Unload the models, end the threads and send the last traces."""
        await self.repository.close()
        if self.archive:
            await self.archive.close()
        self.pictures.close()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)


def runtime_of(request: Request) -> Runtime:
    """The running service that a request came to."""
    return cast(Runtime, request.app.state.runtime)
