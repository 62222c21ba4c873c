"""The pictures of one request through a queue that all requests share: a bounded number on their way at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from .errors import QueueFullError
from .settings import LARGEST_BATCH, Settings

T = TypeVar("T")


def pace(settings: Settings) -> int:
    """Pictures of one request on their way at once: two full batches, but never more than half of the queue."""
    return max(1, min(2 * (settings.max_batch_size or LARGEST_BATCH), settings.max_queue // 2))


async def score_paced(
    count: int,
    at_once: int,
    score: Callable[[int], Coroutine[Any, Any, T]],
    finish: Callable[[int, T | Exception], Awaitable[None]],
) -> None:
    """Run `score` for each index below `count`, at most `at_once` together, and `finish` with its result as each is done.

    A request never fills the queue itself. If others have, its picture waits until the next one of the request is done, and
    is refused with QueueFullError only when none is on its way. Cancelling it takes everything out of the queue.
    """
    waiting = deque(range(count))
    running: dict[asyncio.Task[T], int] = {}
    room = at_once
    try:
        while waiting or running:
            while waiting and len(running) < room:
                index = waiting.popleft()
                running[asyncio.create_task(score(index))] = index
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=_found_no_place, reverse=True):  # so that they see what is on its way beside them
                index = running.pop(task)
                if _found_no_place(task) and running:
                    waiting.appendleft(index)
                    room = len(running)
                else:
                    await finish(index, _outcome(task))
                    room = at_once
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _found_no_place(task: asyncio.Task[Any]) -> bool:
    return isinstance(task.exception(), QueueFullError)


def _outcome(task: asyncio.Task[T]) -> T | Exception:
    error = task.exception()
    return error if isinstance(error, Exception) else task.result()
