"""Listeners of the feed: who is told what, and who is let go."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from service.errors import TooManyListenersError
from service.feed import HISTORY, Feed, Wanted
from service.metrics import Metrics
from service.schemas import BranchScores, ImageSize, ModelReference, ResultEvent


def event(feed: Feed, model: str = "tiny", line: str | None = None, anomalous: bool = False) -> ResultEvent:
    """A result with a picture."""
    scores = BranchScores(local=0.1, semantic=0.1, joint=0.2)
    return ResultEvent(
        number=feed.next_number(),
        id="id",
        time=datetime(2026, 11, 25, tzinfo=UTC),
        model=ModelReference(name=model, version="1"),
        line=line,
        station=None,
        part=None,
        scores=scores,
        raw=scores,
        threshold=0.5,
        anomalous=anomalous,
        image=ImageSize(width=1, height=1),
        picture="PICTURE",
        heatmap="HEATMAP",
    )


async def test_each_listener_gets_what_it_wants() -> None:
    feed = Feed(Metrics())
    with feed.listen(Wanted(line="4", anomalous=True)) as (picky, _), feed.listen(Wanted(pictures=True)) as (curious, _):
        feed.publish(event(feed, line="5", anomalous=True))
        feed.publish(event(feed, line="4"))
        feed.publish(event(feed, line="4", anomalous=True))
        numbers = [await curious.next(0.01) for _ in range(4)]
        assert [number and number[0] for number in numbers] == [1, 2, 3, None]
        assert numbers[0]
        assert b"PICTURE" in numbers[0][1]
        found = await picky.next(0.01)
        assert found
        assert found[0] == 3
        assert b"PICTURE" not in found[1]
        assert await picky.next(0.01) is None


def test_pictures_are_wanted_only_while_somebody_listens_for_them() -> None:
    feed = Feed(Metrics())
    with feed.listen(Wanted()):
        assert not feed.wants_pictures
    with feed.listen(Wanted(pictures=True)):
        assert feed.wants_pictures
    assert not feed.wants_pictures


def test_history_is_bounded_filtered_and_has_no_pictures() -> None:
    feed = Feed(Metrics())
    for number in range(HISTORY + 10):
        feed.publish(event(feed, model="even" if number % 2 == 0 else "odd"))
    with feed.listen(Wanted(model="odd", pictures=True)) as (_, history):
        assert len(history) == HISTORY // 2
        assert history[-1].number == HISTORY + 10
        assert {entry.picture for entry in history} == {None}


async def test_a_listener_that_falls_behind_is_let_go_and_counted() -> None:
    metrics = Metrics()
    feed = Feed(metrics)
    with feed.listen(Wanted()) as (slow, _), feed.listen(Wanted(model="other")) as (other, _):
        for _ in range(200):
            feed.publish(event(feed))
        assert slow.lost
        assert await slow.next(0.01) is None
        assert not other.lost
        assert metrics.registry.get_sample_value("duet_event_listeners_dropped_total") == 1
        assert metrics.registry.get_sample_value("duet_event_listeners") == 1


def test_listeners_are_limited() -> None:
    feed = Feed(Metrics())
    with pytest.raises(TooManyListenersError):
        _listen_nested(feed, 65)
    with feed.listen(Wanted()):
        pass


def _listen_nested(feed: Feed, depth: int) -> None:
    if depth:
        with feed.listen(Wanted()):
            _listen_nested(feed, depth - 1)
