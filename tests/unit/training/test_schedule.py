from __future__ import annotations

import pytest

from training.schedule import warmup_cosine


def test_it_warms_up_linearly_from_above_zero() -> None:
    assert [warmup_cosine(step, 100, 4, 0.1) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_it_falls_by_a_cosine_to_the_final_share() -> None:
    factors = [warmup_cosine(step, 100, 4, 0.1) for step in range(4, 101)]
    assert factors == sorted(factors, reverse=True)
    assert factors[48] == pytest.approx(0.55)  # half-way between 1 and the share
    assert factors[-1] == pytest.approx(0.1)


def test_without_warm_up_it_starts_at_one() -> None:
    assert warmup_cosine(0, 10, 0, 0.1) == 1.0


def test_a_run_shorter_than_its_warm_up_still_learns() -> None:
    assert all(0 < warmup_cosine(step, 5, 100, 0.1) < 0.06 for step in range(5))
