"""Drift by hand, and what chance alone makes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service import drift
from service.drift import LEAST_IMAGES, WINDOW_IMAGES, DriftWindow, stability_index
from service.model_format import Distribution
from service.schemas import BranchScores
from training.distribution import distribution

HALVES = Distribution(edges=(0.5,), counts=(50, 50))


def fill(window: DriftWindow, count: int, probability: float, anomalous: bool = False) -> None:
    for _ in range(count):
        window.add(BranchScores(local=probability, semantic=None, joint=probability), anomalous)


def test_the_index_is_that_of_the_books() -> None:
    """400 of 400 expected half and half, found 300 and 100: 2 x 0.25 x ln 1.5 + ..., up to the half picture of each bin."""
    found = np.repeat([0.1, 0.9], [300, 100])
    high, low = 300.5 / 401, 100.5 / 401
    expected = (high - 0.5) * math.log(high / 0.5) + (low - 0.5) * math.log(low / 0.5)
    assert stability_index(HALVES, found) == pytest.approx(expected)
    assert expected == pytest.approx(0.25 * math.log(3), rel=0.01)
    assert stability_index(HALVES, np.repeat([0.1, 0.5], 200)) == 0  # an edge belongs to the bin above it


def test_the_index_of_another_population_is_finite() -> None:
    assert 1 < stability_index(HALVES, np.ones(2000)) < 5


@pytest.mark.parametrize("good", [40, 99, 200, 1000])
@pytest.mark.parametrize(("images", "at_most"), [(200, 1 / 100), (500, 1 / 500)])
def test_chance_alone_seldom_looks_like_drift(good: int, images: int, at_most: float) -> None:
    """As the module says, for calibration sets of every size that is told of."""
    rng = np.random.default_rng(good)
    rounds, over = 3000, 0
    for _ in range(rounds):
        reference = distribution(rng.beta(0.3, 9, good))
        assert reference is not None
        over += stability_index(reference, rng.beta(0.3, 9, images)) > 0.25
    assert over / rounds <= at_most


def test_an_index_is_told_once_the_window_holds_enough() -> None:
    window = DriftWindow({"joint": HALVES, "local": HALVES})
    assert (window.images(), window.anomalous_ratio(), window.stability()) == (0, None, {})
    fill(window, LEAST_IMAGES - 1, 0.9, anomalous=True)
    assert window.stability() == {}
    fill(window, 1, 0.9)
    assert window.images() == LEAST_IMAGES
    assert window.anomalous_ratio() == 1 - 1 / LEAST_IMAGES
    expected = stability_index(HALVES, np.full(LEAST_IMAGES, 0.9))
    assert window.stability() == {"joint": expected, "local": expected}


def test_a_model_without_reference_tells_its_ratio_alone() -> None:
    window = DriftWindow({})
    fill(window, LEAST_IMAGES, 0.9, anomalous=True)
    assert (window.stability(), window.anomalous_ratio()) == ({}, 1.0)


def test_old_pictures_leave_by_number_and_by_age(monkeypatch: pytest.MonkeyPatch) -> None:
    window = DriftWindow({"joint": HALVES})
    fill(window, WINDOW_IMAGES, 0.9, anomalous=True)
    fill(window, WINDOW_IMAGES // 2, 0.1)
    assert (window.images(), window.anomalous_ratio()) == (WINDOW_IMAGES, 0.5)
    monkeypatch.setattr(drift, "WINDOW_SECONDS", 0.0)
    assert (window.images(), window.anomalous_ratio(), window.stability()) == (0, None, {})
