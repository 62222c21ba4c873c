from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from training.false_alarms import false_alarms, false_alarms_table


def test_rows_compare_what_was_asked_for_with_what_is_found() -> None:
    held_out, unseen = np.arange(1, 100), np.array([50.0] * 90 + [99.0] * 7 + [99.5, 100.0, 120.0])
    (one, two) = false_alarms(held_out, unseen, alphas=(0.01, 0.02))
    assert (one.limit, one.found, one.images) == (99.0, 3, 100)
    assert (two.limit, two.found) == (98.0, 10)
    assert (one.low, one.high) == pytest.approx((0.0062, 0.0852), abs=1e-4)


def test_an_alpha_that_the_held_out_pictures_cannot_show_is_left_out() -> None:
    assert [row.alpha for row in false_alarms(np.arange(99), np.arange(5))] == [0.01, 0.02, 0.05, 0.1]
    assert false_alarms([], np.arange(5)) == []
    assert false_alarms(np.arange(99), []) == []


def test_the_promise_holds_on_average_whatever_the_distribution() -> None:
    rng = np.random.default_rng(0)
    found = [false_alarms(rng.exponential(size=199), rng.exponential(size=500), (0.02,))[0].found / 500 for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.02, abs=0.002)


def test_the_table_is_in_per_cent() -> None:
    text = StringIO()
    Console(file=text, width=100).print(false_alarms_table(false_alarms(np.arange(1, 100), np.arange(200), (0.01,))))
    assert "50.00" in text.getvalue()
    assert "100 of 200" in text.getvalue()
