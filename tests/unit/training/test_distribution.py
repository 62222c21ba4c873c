"""The reference that drift is measured from."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from service.model_format import Distribution
from training.calibrate import calibrate, joint_score
from training.distribution import distribution
from training.good_scores import HeldOutScores


@pytest.mark.parametrize(("images", "bins"), [(40, 2), (59, 2), (60, 3), (99, 4), (200, 10), (5000, 10)])
def test_bins_are_alike_and_as_many_as_the_pictures_bear(images: int, bins: int) -> None:
    values = np.random.default_rng(images).permutation(np.arange(images) / images)
    found = distribution(values)
    assert found is not None
    assert len(found.counts) == bins
    assert sum(found.counts) == images
    assert max(found.counts) - min(found.counts) <= 1
    assert found.counts == tuple(np.histogram(values, [-1, *found.edges, 2])[0])


def test_no_probability_changes_its_bin_when_it_is_rounded() -> None:
    values = np.random.default_rng(0).beta(0.2, 20, 400)
    found = distribution(values)
    assert found is not None
    bins = [np.searchsorted(found.edges, v, side="right") for v in (values, values.astype(np.float32))]
    assert np.array_equal(*bins)


def test_equal_probabilities_share_a_bin() -> None:
    found = distribution(np.repeat([0.1, 0.3, 0.7], [70, 20, 10]))
    assert found == Distribution(edges=(0.2,), counts=(70, 30))


@pytest.mark.parametrize("values", [np.linspace(0, 1, 39), np.full(100, 0.2), np.array([])])
def test_too_few_or_equal_probabilities_are_no_reference(values: np.ndarray) -> None:
    assert distribution(values) is None


def test_calibration_keeps_the_distribution_of_each_probability() -> None:
    rng = np.random.default_rng(1)
    scores = HeldOutScores(rng.normal(1, 0.2, 300), rng.normal(3, 0.1, 300), rng.normal(2, 0.2, 300))
    calibration, threshold = calibrate(scores, alpha=0.1)
    assert calibration.reference.keys() == {"local", "semantic", "joint"}
    assert all(sum(known.counts) == 300 for known in calibration.reference.values())
    joint = -np.expm1(-joint_score(scores, calibration))
    edges = calibration.reference["joint"].edges
    assert edges[-1] == pytest.approx(threshold, rel=1e-2)  # ten bins, and a tenth above the threshold
    assert tuple(np.histogram(joint, [0, *edges, 1])[0]) == calibration.reference["joint"].counts
    alone, _ = calibrate(HeldOutScores(None, scores.semantic, None))
    assert alone.reference.keys() == {"semantic", "joint"}


def test_few_pictures_calibrate_without_a_reference() -> None:
    scores = np.random.default_rng(2).normal(1, 0.2, 20)
    assert calibrate(HeldOutScores(scores, None, scores), alpha=0.1)[0].reference == {}


@pytest.mark.parametrize(
    ("edges", "counts", "message"),
    [
        ((), (1,), "at least 1 item"),
        ((0.5, 0.5), (1, 1, 1), "must ascend"),
        ((0.6, 0.5), (1, 1, 1), "must ascend"),
        ((0.5,), (1, 1, 1), "1 edges make 2 bins, but there are 3 counts"),
        ((0.5,), (1, 0), "greater than 0"),
        ((1.5,), (1, 1), "less than or equal to 1"),
    ],
)
def test_a_damaged_reference_is_refused(edges: tuple[float, ...], counts: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Distribution(edges=edges, counts=counts)
