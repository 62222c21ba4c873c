"""The pictures of one request taking turns, each held and let go by the test."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import DeadlineError, QueueFullError
from service.paced_scoring import pace, score_paced
from service.settings import Settings


class Scores:
    """Scores that end when the test says so, in a queue that has so many free places."""

    def __init__(self, free: int = 100) -> None:
        self.free, self.most = free, 0
        self.running: dict[int, asyncio.Future[str]] = {}
        self.finished: list[tuple[int, object]] = []

    async def score(self, index: int) -> str:
        if self.free == 0:
            raise QueueFullError("full")
        self.free -= 1
        self.running[index] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.running))
        try:
            return await self.running[index]
        finally:
            del self.running[index]
            self.free += 1

    async def finish(self, index: int, outcome: str | Exception) -> None:
        self.finished.append((index, outcome if isinstance(outcome, str) else type(outcome)))


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("max_queue", "max_batch_size", "expected"), [(64, 8, 16), (8, 8, 4), (64, 1, 2), (1, 8, 1), (3, 8, 1)]
)
def test_pace_is_two_batches_and_at_most_half_of_the_queue(max_queue: int, max_batch_size: int, expected: int) -> None:
    assert pace(Settings(max_queue=max_queue, max_batch_size=max_batch_size)) == expected


async def test_only_so_many_at_once_and_each_handed_on_as_it_is_done() -> None:
    scores = Scores()
    task = asyncio.create_task(score_paced(5, 2, scores.score, scores.finish))
    await settle()
    assert list(scores.running) == [0, 1]
    scores.running[1].set_result("one")
    await settle()
    assert scores.finished == [(1, "one")]
    assert list(scores.running) == [0, 2]
    scores.running[2].set_exception(DeadlineError("late"))
    await settle()
    assert scores.finished[1:] == [(2, DeadlineError)]
    while scores.running:
        next(iter(scores.running.values())).set_result("done")
        await settle()
    await task
    assert sorted(index for index, _ in scores.finished) == [0, 1, 2, 3, 4]
    assert scores.most == 2


async def test_pictures_that_find_no_place_wait_for_one_of_their_own() -> None:
    scores = Scores(free=1)
    task = asyncio.create_task(score_paced(6, 4, scores.score, scores.finish))
    await settle()
    assert len(scores.running) == 1
    scores.free += 1  # another request's picture has gone
    await settle()
    assert len(scores.running) == 1  # nobody asks in vain meanwhile
    next(iter(scores.running.values())).set_result("done")
    await settle()
    assert len(scores.running) == 2
    while scores.running:
        next(iter(scores.running.values())).set_result("done")
        await settle()
    await task
    assert sorted(scores.finished) == [(index, "done") for index in range(6)]


async def test_with_none_on_its_way_a_full_queue_refuses() -> None:
    scores = Scores(free=0)
    await score_paced(6, 4, scores.score, scores.finish)
    assert sorted(scores.finished) == [(index, QueueFullError) for index in range(6)]


async def test_cancelling_cancels_what_is_on_its_way() -> None:
    scores = Scores()
    task = asyncio.create_task(score_paced(6, 4, scores.score, scores.finish))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not scores.running
    assert not scores.finished


async def test_a_taker_that_fails_ends_it_all() -> None:
    scores = Scores()

    async def broken(index: int, outcome: object) -> None:  # noqa: ARG001
        raise OSError("connection lost")

    task = asyncio.create_task(score_paced(6, 4, scores.score, broken))
    await settle()
    scores.running[0].set_result("done")
    with pytest.raises(OSError, match="connection lost"):
        await task
    assert not scores.running
