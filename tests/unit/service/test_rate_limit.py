"""The token bucket: what it admits, when, and what it remembers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.rate_limit import RateLimit


class Clock:
    """Stands for time.monotonic."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("service.rate_limit.time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.mark.parametrize(("rate", "burst"), [(5, 5), (2.5, 2), (1, 1), (0.25, 1)])
def test_one_second_s_worth_at_once_then_one_for_each_interval(clock: Clock, rate: float, burst: int) -> None:
    limit = RateLimit(rate)
    assert [limit.take("a") > 0 for _ in range(burst + 2)] == [False] * burst + [True] * 2
    clock.now += 100 / rate  # long enough to be full again, and no fuller
    assert [limit.take("a") > 0 for _ in range(burst + 1)] == [False] * burst + [True]


def test_waiting_as_long_as_told_is_enough_and_less_is_not(clock: Clock) -> None:
    limit = RateLimit(0.5)
    assert limit.take("a") == 0
    wait = limit.take("a")
    assert wait == 2
    clock.now += wait - 0.25
    assert limit.take("a") == 0.25
    clock.now += 0.25
    assert limit.take("a") == 0


def test_clients_do_not_share_a_bucket(clock: Clock) -> None:  # noqa: ARG001  # time stands still
    limit = RateLimit(1)
    assert limit.take("a") == 0
    assert limit.take("b") == 0
    assert limit.take("a") > 0


@given(rate=st.floats(0.1, 50), gaps=st.lists(st.floats(0, 3), max_size=200))
def test_never_more_than_the_rate_and_one_burst(rate: float, gaps: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr("service.rate_limit.time", SimpleNamespace(monotonic=clock))
        limit = RateLimit(rate)
        admitted = 0
        for gap in gaps:
            clock.now += gap
            admitted += limit.take("a") == 0
        assert admitted <= max(1, rate) + rate * sum(gaps) + 1e-6


def test_idle_clients_are_forgotten_and_busy_ones_are_not(clock: Clock) -> None:
    limit = RateLimit(2)
    for client in range(1000):
        limit.take(str(client))
    clock.now += 0.9
    limit.take("busy")
    limit.take("busy")
    clock.now += 0.1
    assert limit.take("busy") > 0
    assert list(limit._buckets) == ["busy"]
