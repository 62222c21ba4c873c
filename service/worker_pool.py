"""Threads for what would hold the event loop up: decoding, heatmaps, and a disk that may hang."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .errors import OutOfMemoryError

T = TypeVar("T")


class WorkerPool:
    """A bounded pool, first come first served."""

    def __init__(self, name: str, threads: int, patience: float = math.inf) -> None:
        """`patience` in seconds: nobody waits for longer, so what still runs then is stuck."""
        self._threads, self._patience = threads, patience
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._running: dict[object, float] = {}  # when each began, a time of time.monotonic()

    @property
    def busy(self) -> int:
        """Threads that work."""
        return len(self._running)

    @property
    def stuck(self) -> bool:
        """Whether every thread works for somebody who has long gone, so that none is left for anybody else."""
        long_ago = time.monotonic() - self._patience
        return sum(began < long_ago for began in list(self._running.values())) >= self._threads

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function on a thread; cancelling it drops what has not started. What has started cannot be stopped.

        Raises OutOfMemoryError, and whatever the function raises.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._timed, function)
        except MemoryError as error:
            raise OutOfMemoryError("no memory is left for this picture: send it again later, or a smaller one") from error

    def close(self) -> None:
        """Take no more work, and do not wait for what runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _timed(self, function: Callable[[], T]) -> T:
        token = object()
        self._running[token] = time.monotonic()
        try:
            return function()
        finally:
            del self._running[token]
