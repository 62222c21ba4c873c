"""Calibration by hand, and the false alarms it promises on pictures that it has not seen."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.model_format import score_threshold
from training.calibrate import (
    QUIET,
    calibrate,
    calibrate_run,
    fit_sigmoid,
    fit_wide_sigmoid,
    joint_score,
    upper_quantile,
)
from training.errors import TrainingError
from training.good_scores import HeldOutScores, held_out_scores
from training.metrics import image_auroc
from training.run_folder import RunFolder

Scores = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Scores]


def one_to(n: int) -> Scores:
    """1, 2, ... n in some order."""
    return np.random.default_rng(n).permutation(np.arange(1.0, n + 1))


def gaussian(rng: np.random.Generator, n: int) -> Scores:
    return rng.normal(0.2, 0.03, n)


def skewed(rng: np.random.Generator, n: int) -> Scores:
    return rng.lognormal(-2, 0.5, n)


def heavy_tailed(rng: np.random.Generator, n: int) -> Scores:
    return np.abs(rng.standard_t(3, n)) * 0.05


def held_out(local: Scores | None, semantic: Scores | None = None) -> HeldOutScores:
    return HeldOutScores(local, semantic, None if local is None else 2 * local)


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(99, 0.01, 99), (199, 0.05, 190), (999, 0.01, 990), (1000, 0.01, 991), (9, 0.1, 9), (5, 0.01, 5), (1, 0.5, 1)],
)
def test_the_quantile_is_the_conformal_one(n: int, alpha: float, rank: int) -> None:
    assert upper_quantile(one_to(n), alpha) == rank


@pytest.mark.parametrize("alpha", ["0.001", "0.01", "0.02", "0.03", "0.05", "0.1", "0.2", "0.3"])
def test_rounding_never_moves_the_quantile(alpha: str) -> None:
    for n in range(1, 1200):
        exact = min(n, math.ceil((n + 1) * (1 - Fraction(alpha))))
        assert upper_quantile(np.arange(1.0, n + 1), float(alpha)) == exact, n


def wide(rng: np.random.Generator, n: int) -> Scores:
    return rng.normal(0.2, 0.05, n)


@pytest.mark.parametrize("draw", [wide, skewed, heavy_tailed])
def test_good_pictures_are_equally_quiet_whatever_their_distribution(draw: Draw) -> None:
    scores = draw(np.random.default_rng(3), 2000)
    sigmoid = fit_sigmoid(scores, 0.01)
    assert sigmoid.tau == upper_quantile(scores, 0.01)
    hazard = np.logaddexp(0, (scores - sigmoid.tau) / sigmoid.sigma)
    assert np.median(np.abs(hazard - np.median(hazard))) == pytest.approx(QUIET, rel=1e-3)


def test_scores_that_are_nearly_alike_keep_digits_that_float32_has() -> None:
    """A step would show the last digits, which depend on what shares the batch."""
    scores = np.random.default_rng(0).normal(0.2, 0.001, 500)
    sigmoid = fit_sigmoid(scores, 0.01)
    assert sigmoid.sigma == pytest.approx(0.05 * sigmoid.tau)


def test_the_pixels_sigmoid_keeps_shades_below_its_quantile() -> None:
    scores = wide(np.random.default_rng(3), 2000)
    pixel = fit_wide_sigmoid(scores, 0.01)
    assert pixel.tau == fit_sigmoid(scores, 0.01).tau
    assert pixel.sigma == pytest.approx(0.05, rel=0.1)
    assert fit_sigmoid(scores, 0.01).sigma < 0.6 * pixel.sigma


def test_sigma_is_never_wider_than_the_tail_allows() -> None:
    scores = np.array([2.99, 3.0, 3.0, 3.0, 3.01, 100.0])  # quiet at any sigma
    assert fit_sigmoid(scores, 0.2).sigma == pytest.approx((100 - 3) / 0.841621)  # the normal quantile of 0.8


def test_a_branch_with_a_long_tail_does_not_drown_in_the_noise_of_the_other() -> None:
    rng = np.random.default_rng(0)
    local = np.append(rng.normal(0.04, 0.002, 985), rng.uniform(0.06, 0.1, 15))  # a few good pictures are rebuilt badly
    calibration, _ = calibrate(held_out(local, rng.normal(0.1, 0.02, 1000)))
    good, bad = rng.normal(0.04, 0.002, 1000), rng.normal(0.055, 0.002, 1000)  # told apart by local alone
    noise = rng.normal(0.1, 0.02, 2000)
    joint = joint_score(held_out(np.concatenate((good, bad)), noise), calibration)
    assert image_auroc(joint, [0] * 1000 + [1] * 1000) > 0.75


@pytest.mark.parametrize("value", [0.0, 0.5, 7.0])
def test_equal_scores_still_calibrate(value: float) -> None:
    calibration, threshold = calibrate(held_out(np.full(200, value)))
    assert calibration.local is not None
    assert calibration.local.sigma > 0
    assert 0 < threshold < 1


@pytest.mark.parametrize(("n", "alpha"), [(99, 0.05), (499, 0.01), (199, 0.1)])
@pytest.mark.parametrize("draw", [gaussian, skewed, heavy_tailed])
def test_one_branch_raises_false_alarms_at_exactly_alpha(draw: Draw, n: int, alpha: float) -> None:
    """Whatever the distribution: here (n + 1) alpha is whole, where the conformal bound is met with equality."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        calibration, threshold = calibrate(held_out(draw(rng, n)), alpha)
        rates.append(np.mean(joint_score(held_out(draw(rng, 2000)), calibration) >= score_threshold(threshold)))
    assert np.mean(rates) == pytest.approx(alpha, abs=4 * math.sqrt(alpha / n / 400))


@pytest.mark.parametrize("draw", [gaussian, skewed, heavy_tailed])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_both_branches_together_keep_alpha_too(draw: Draw, correlation: float) -> None:
    """Nearly so: the joint is a function of the same held-out scores that its threshold comes from."""
    rng, alpha, n = np.random.default_rng(1), 0.02, 499

    def pair(count: int) -> HeldOutScores:
        local, other = draw(rng, count), draw(rng, count)
        return held_out(local, (correlation * local + (1 - correlation) * other) * 0.3)

    rates = []
    for _ in range(200):
        calibration, threshold = calibrate(pair(n), alpha)
        rates.append(np.mean(joint_score(pair(2000), calibration) >= score_threshold(threshold)))
    assert np.mean(rates) == pytest.approx(alpha, rel=0.15)


@given(
    st.lists(st.floats(0, 2), min_size=1, max_size=60),
    st.lists(st.floats(0, 2), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_the_picture_that_sets_the_threshold_stays_good(local: list[float], semantic: list[float], alpha: float) -> None:
    """Also where the joint score is rounded to float32, as the graph gives it. Of the held-out at most alpha are rejected."""
    n = min(len(local), len(semantic))
    scores = held_out(np.array(local[:n]), np.array(semantic[:n]))
    calibration, threshold = calibrate(scores, alpha)
    joint = joint_score(scores, calibration)
    rejected = joint.astype(np.float32) >= score_threshold(threshold)
    assert rejected.sum() <= math.floor(alpha * (n + 1))
    assert not rejected[joint <= upper_quantile(joint, alpha)].any()


def test_a_clearly_higher_score_is_anomalous() -> None:
    scores = held_out(one_to(200), one_to(200)[::-1].copy())
    calibration, threshold = calibrate(scores)
    new = held_out(np.array([100.0, 400.0, 100.0]), np.array([100.0, 100.0, 400.0]))
    assert (joint_score(new, calibration) >= score_threshold(threshold)).tolist() == [False, True, True]


def test_few_pictures_give_a_warning_that_names_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "training"):
        calibrate(held_out(one_to(99)), alpha=0.01)
        assert not caplog.records
        calibrate(held_out(one_to(24)), alpha=0.01)
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith("24 held-out images cannot show a share of 0.01: the threshold is their largest score")
    assert message.endswith("hold out 99 images, or train with --folds, which holds out none")
    assert "expect 0.11 to 14 % false alarms" in message


@pytest.mark.parametrize(
    ("scores", "alpha", "message"),
    [
        (held_out(None), 0.01, "no held-out good image"),
        (held_out(np.array([])), 0.01, "no held-out good image"),
        (held_out(one_to(5)), 0.0, "alpha is 0.0; it is a share"),
        (held_out(one_to(5)), 1.0, "alpha is 1.0; it is a share"),
        (held_out(one_to(5)), math.nan, "alpha is nan; it is a share"),
        (held_out(np.array([1.0, math.nan])), 0.01, "not finite: the training diverged; lower the learning rate"),
        (held_out(one_to(2), np.array([1.0, math.inf])), 0.01, "not finite"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(scores: HeldOutScores, alpha: float, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        calibrate(scores, alpha)


def test_a_branch_alone_leaves_the_other_empty() -> None:
    calibration, _ = calibrate(HeldOutScores(None, one_to(200), None))
    assert (calibration.local, calibration.pixel, calibration.images) == (None, None, 200)
    assert calibration.semantic is not None


def test_a_run_is_calibrated_on_its_held_out_pictures(finished_run: RunFolder) -> None:
    with torch.inference_mode():
        scores = finished_run.raw_graph()(torch.from_numpy(finished_run.held_out().copy()))
    assert scores.anomaly_map is not None
    assert scores.local is not None
    assert scores.semantic is not None
    outcome = finished_run.calibration()
    assert (outcome.alpha, outcome.calibration.images) == (0.1, 12)
    wanted = {"local": scores.local, "semantic": scores.semantic, "pixel": scores.anomaly_map.flatten(1).amax(1)}
    for name, values in wanted.items():
        sigmoid = getattr(outcome.calibration, name)
        # of 12 pictures the 12th: ceil(13 x 0.9); another size of batch rounds otherwise, and whitening multiplies that
        assert sigmoid.tau == pytest.approx(values.max().item(), rel=1e-3)
    with torch.inference_mode():
        joint = finished_run.calibrated_graph()(torch.from_numpy(finished_run.held_out().copy()))["joint_score"]
    assert (joint < 1.001 * score_threshold(outcome.threshold)).all()
    assert outcome.threshold == pytest.approx(-math.expm1(-joint.max().item()), rel=1e-3)


def test_calibrating_anew_replaces_the_threshold(finished_run: RunFolder, copy_run: Callable[[RunFolder], RunFolder]) -> None:
    run = copy_run(finished_run)
    outcome = calibrate_run(run, alpha=0.5)
    assert run.calibration() == outcome != finished_run.calibration()
    joint = joint_score(held_out_scores(run.raw_graph(), run.held_out()), outcome.calibration)
    assert (joint >= score_threshold(outcome.threshold)).sum() == 12 - 7  # the seventh is the threshold: ceil(13 x 0.5)


def test_outliers_among_the_good_cannot_make_everything_good(caplog: pytest.LogCaptureFixture) -> None:
    """Two branches that are never high together: the joint quantile lies among clear defects of one or the other."""
    local, semantic = np.linspace(1, 2, 400), np.linspace(1, 2, 400)
    local[:3], semantic[3:6] = 1e6, 1e6
    calibration, threshold = calibrate(HeldOutScores(local, semantic, local), alpha=0.01)
    assert threshold < 1
    assert "look for bad pictures" in caplog.text
    assert (joint_score(HeldOutScores(local, semantic, local), calibration) >= score_threshold(threshold)).sum() == 6
