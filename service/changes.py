"""Work that is done to its end whoever has asked for it, such as a change of models."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from .memory import give_back_holes

log = structlog.stdlib.get_logger(__name__)


class Changes:
    """The changes under way. Belongs to the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a change that nobody has to wait for."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def make(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for a change that goes on even if this wait is cancelled; raises what it raises."""
        await asyncio.shield(self.start(work))

    async def ended(self, patience: float) -> None:
        """Wait until none is under way, for so many seconds at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        asyncio.get_running_loop().run_in_executor(None, give_back_holes)  # only now nothing holds what was unloaded
        if not task.cancelled() and (error := task.exception()) is not None:  # its caller may be gone
            log.info("a change has ended early", reason=str(error))
