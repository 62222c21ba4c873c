"""Threads for what would block: what is cancelled is not begun, and a pool that is stuck says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from service.worker_pool import WorkerPool


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds a thread up until it is set."""
    gate = threading.Event()
    yield gate
    gate.set()


async def until(condition: object, pool: WorkerPool) -> None:
    while pool.busy != condition:
        await asyncio.sleep(0.001)


async def test_work_that_was_cancelled_in_time_is_never_done(gate: threading.Event) -> None:
    pool = WorkerPool("test", 1, patience=60)
    done: list[str] = []
    held = asyncio.create_task(pool.run(gate.wait))
    await until(1, pool)
    dropped = asyncio.create_task(pool.run(lambda: done.append("dropped")))
    await asyncio.sleep(0)
    dropped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dropped
    gate.set()
    await held
    await pool.run(lambda: done.append("next"))
    assert done == ["next"]
    pool.close()


async def test_a_pool_is_stuck_once_every_thread_works_for_somebody_who_has_gone(gate: threading.Event) -> None:
    pool = WorkerPool("test", 2, patience=0.01)
    waits = [asyncio.create_task(pool.run(gate.wait)) for _ in range(2)]
    await until(2, pool)
    await asyncio.sleep(0.02)
    assert pool.stuck
    gate.set()
    await asyncio.gather(*waits)
    assert not pool.stuck
    assert pool.busy == 0
    pool.close()


async def test_one_free_thread_is_enough(gate: threading.Event) -> None:
    pool = WorkerPool("test", 2, patience=0.01)
    wait = asyncio.create_task(pool.run(gate.wait))
    await until(1, pool)
    await asyncio.sleep(0.02)
    assert not pool.stuck
    gate.set()
    await wait
    pool.close()


async def test_an_exception_reaches_who_waits() -> None:
    pool = WorkerPool("test", 1, patience=60)
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    assert pool.busy == 0
    pool.close()
