"""What the parts of one running service share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from fastapi import Request

from .errors import OutOfMemoryError
from .metrics import Metrics
from .repository import Repository
from .settings import Settings

T = TypeVar("T")


class Runtime:
    """Settings, collectors, models and threads of one application; `draining` is set once it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.repository = Repository(settings, self.metrics)
        self.draining = False
        self.failed = False
        # Decodes and heatmaps share one pool, first come first served. So a backlog of heatmaps holds the decodes back, these
        # keep their places in the queue, and a full queue refuses: nothing here grows without bound.
        self._pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="pictures")

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return not self.draining and self.repository.ready

    async def in_pool(self, function: Callable[[], T]) -> T:
        """Run a function on a thread for pictures; cancelling it drops what has not started. Raises OutOfMemoryError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function)
        except MemoryError as error:
            raise OutOfMemoryError("no memory is left for this picture: send it again later, or a smaller one") from error

    def close(self) -> None:
        """Unload the models and end the threads; blocks."""
        self.repository.close()
        self._pool.shutdown()


def runtime_of(request: Request) -> Runtime:
    """The running service that a request came to."""
    return cast(Runtime, request.app.state.runtime)
