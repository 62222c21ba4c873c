"""The one clock of a request."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import DeadlineError
from service.progress import Progress


async def test_nothing_begins_once_the_deadline_has_passed() -> None:
    begun = False
    with pytest.raises(DeadlineError, match="not done within 0 ms; it was at the stage 'queue'"):
        async with Progress(0.0).of_image().within_deadline():
            begun = True
    assert not begun


async def test_what_the_block_awaits_is_cancelled() -> None:
    async def decode_for_ever(progress: Progress) -> None:
        async with progress.within_deadline():
            with progress.during("decode"):
                await asyncio.Event().wait()

    with pytest.raises(DeadlineError, match="within 200 ms; it was at the stage 'decode'"):
        await decode_for_ever(Progress(0.2))


def test_images_of_a_request_share_its_deadline() -> None:
    progress = Progress(5.0)
    assert progress.of_image().deadline == progress.deadline
    assert progress.of_image().seconds is not progress.seconds
