"""Calibration on held-out good images alone: raw scores become probabilities, and a threshold keeps false alarms at alpha."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import beta

from service.model_format import Branch, Calibration, Distribution, ScoreName, Sigmoid

from .class_levels import ClassLevels
from .distribution import distribution
from .errors import TrainingError
from .files import write_text
from .good_scores import HeldOutScores, Scores, good_scores
from .measured_levels import class_levels
from .run_folder import RunCalibration, RunFolder

log = logging.getLogger(__name__)

DEFAULT_ALPHA = 0.01
QUIET = 0.007  # median absolute deviation of a branch's hazard over good pictures
# of tau: held-out scores that are nearly equal must not make the probability a step, which shows float32's last digits
SPREAD_FLOOR = 0.05
LARGEST_LIMIT = 25.0  # joint score; the probability of a larger one rounds to 1, from which nothing is ever anomalous
JUST_ABOVE = 1 + 1e-6  # the picture that sets the threshold stays good


def images_needed(alpha: float) -> int:
    """The fewest held-out images from which a false-alarm rate of alpha can be promised."""
    return math.ceil(1 / alpha - 1)


def upper_quantile(scores: Scores, alpha: float) -> float:
    """The (1 - alpha) quantile for unseen data: of n good scores the ceil((n + 1)(1 - alpha))-th smallest, at most the largest.

    A new good score exceeds it with probability at most alpha (split conformal prediction, arXiv 2107.07511), if n is at least
    1/alpha - 1.
    """
    return float(np.sort(scores)[_rank(len(scores), alpha) - 1])


def expected_false_alarms(images: int, alpha: float) -> tuple[float, float]:
    """The interval that holds the threshold's true share of false alarms in 95 of 100 calibrations on so many good images.

    That share is distributed as Beta(n + 1 - r, r) for a threshold at the r-th smallest of n scores (arXiv 2107.07511, 3.2).
    """
    rank = _rank(images, alpha)
    posterior = beta(images + 1 - rank, rank)
    return float(posterior.ppf(0.025)), float(posterior.ppf(0.975))


def more_false_alarms(outcome: RunCalibration) -> str:
    """What an interval of expected false alarms leaves out, where an earlier version took levels and threshold from one set."""
    return ", somewhat more as the classes' levels come from the same pictures" if len(outcome.part_levels) == 1 else ""


def _rank(count: int, alpha: float) -> int:
    return min(count, math.ceil((count + 1) * (1 - alpha)))


def fit_sigmoid(scores: Scores, alpha: float) -> Sigmoid:
    """tau the (1 - alpha) quantile; sigma such that good pictures' hazards softplus((s - tau) / sigma) deviate by QUIET.

    Ours: with the scores' own spread for sigma, a branch that is noise on some kind of defect hides what the other one sees,
    the more so the longer that one's tail of good scores is. Like this both are equally quiet below their tau. It is never
    wider than fit_wide_sigmoid's.
    """
    widest = fit_wide_sigmoid(scores, alpha)
    floor = _floor(widest.tau)

    def noise(sigma: float) -> float:
        return _deviation(np.logaddexp(0.0, (scores - widest.tau) / sigma)) - QUIET

    if widest.sigma <= floor or noise(widest.sigma) <= 0:
        return widest
    return Sigmoid(tau=widest.tau, sigma=floor if noise(floor) >= 0 else float(brentq(noise, floor, widest.sigma)))


def fit_wide_sigmoid(scores: Scores, alpha: float) -> Sigmoid:
    """tau the (1 - alpha) quantile; sigma 1.4826 times the median absolute deviation, or wider where the tail is longer:
    the spread of the normal distribution with the same median and tau.

    That of the pixels: a heatmap shows shades below tau too.
    """
    tau = upper_quantile(scores, alpha)
    tail = (tau - float(np.median(scores))) / NormalDist().inv_cdf(1 - alpha) if alpha < 0.5 else 0.0
    return Sigmoid(tau=tau, sigma=max(tail, 1.4826 * _deviation(scores), _floor(tau)))


def _floor(tau: float) -> float:
    return max(SPREAD_FLOOR * abs(tau), 1e-9)


def _deviation(scores: Scores) -> float:
    """Median absolute deviation."""
    return float(np.median(np.abs(scores - np.median(scores))))


def calibrate(scores: HeldOutScores, alpha: float = DEFAULT_ALPHA) -> tuple[Calibration, float]:
    """Calibration and decision threshold (a joint probability) from the scores of held-out good images.

    The pixels' sigmoid is fitted on each map's maximum, so that a good picture shows a pixel above 1/2 with probability alpha
    (ours). Raises TrainingError without images, with an alpha outside (0, 1), or where a score is not finite.
    """
    branches = [s for s in (scores.local, scores.semantic) if s is not None]
    if not branches or not len(branches[0]):
        raise TrainingError("no held-out good image to calibrate on")
    if not 0 < alpha < 1:
        raise TrainingError(f"alpha is {alpha}; it is a share of good pictures, between 0 and 1")
    if not all(np.isfinite(s).all() for s in branches):
        raise TrainingError("a held-out image has a score that is not finite: the training diverged; lower the learning rate")
    count = len(branches[0])
    if count < images_needed(alpha):
        low, high = expected_false_alarms(count, alpha)
        log.warning(
            "%d held-out images cannot show a share of %g: the threshold is their largest score; expect %.2g to %.2g %% false "
            "alarms; hold out %d images, or train with --folds, which holds out none",
            count, alpha, 100 * low, 100 * high, images_needed(alpha),
        )  # fmt: skip
    calibration = Calibration(
        local=None if scores.local is None else fit_sigmoid(scores.local, alpha),
        semantic=None if scores.semantic is None else fit_sigmoid(scores.semantic, alpha),
        pixel=None if scores.map_maximum is None else fit_wide_sigmoid(scores.map_maximum, alpha),
        images=count,
    )
    joint = joint_score(scores, calibration)
    limit = upper_quantile(joint, alpha) * JUST_ABOVE
    if limit > LARGEST_LIMIT:
        log.warning(
            "over %g of the held-out good pictures score like clear defects: the threshold is cut, and rejects more than asked "
            "for; look for bad pictures among the good ones",
            alpha,
        )
    reference = _reference(scores, joint, calibration)
    return calibration.model_copy(update={"reference": reference}), -math.expm1(-min(limit, LARGEST_LIMIT))


def _reference(scores: HeldOutScores, joint: Scores, calibration: Calibration) -> dict[ScoreName, Distribution]:
    """Distribution of each probability over the held-out pictures; without those that tell nothing of drift."""
    probabilities: dict[ScoreName, Scores] = {"joint": -np.expm1(-joint)}
    if scores.local is not None and calibration.local is not None:
        probabilities["local"] = expit((scores.local - calibration.local.tau) / calibration.local.sigma)
    if scores.semantic is not None and calibration.semantic is not None:
        probabilities["semantic"] = expit((scores.semantic - calibration.semantic.tau) / calibration.semantic.sigma)
    found = {name: distribution(values) for name, values in probabilities.items()}
    return {name: known for name, known in found.items() if known is not None}


def branch_calibration(run: RunFolder, branch: Branch) -> RunCalibration:
    """Calibration of one branch that goes alone: its threshold keeps alpha by itself. Nothing is recorded in the run."""
    outcome = run.calibration()
    return calibration_of(good_scores(run, (branch,), outcome.part_levels), outcome.alpha, outcome.levels, outcome.part_levels)


def calibration_of(
    scores: HeldOutScores, alpha: float, levels: ClassLevels | None = None, part_levels: Sequence[ClassLevels] = ()
) -> RunCalibration:
    """Calibration and threshold with what they were found from; errors as of `calibrate`."""
    calibration, threshold = calibrate(scores, alpha)
    joint = tuple(np.sort(joint_score(scores, calibration)).tolist())
    return RunCalibration(
        calibration=calibration,
        threshold=threshold,
        alpha=alpha,
        levels=levels,
        part_levels=tuple(part_levels),
        joint_scores=joint,
    )


def joint_score(scores: HeldOutScores, calibration: Calibration) -> Scores:
    """h = sum over branches of softplus((s - tau) / sigma), [N]; the same arithmetic as the graph's, in float64."""
    pairs = ((scores.local, calibration.local), (scores.semantic, calibration.semantic))
    hazards = [np.logaddexp(0.0, (s - c.tau) / c.sigma) for s, c in pairs if s is not None and c is not None]
    joint: Scores = np.sum(hazards, axis=0)
    return joint


def calibrate_run(run: RunFolder, alpha: float | None = None) -> RunCalibration:
    """Calibrate a finished run on its held-out pictures and record the outcome in its folder; `alpha` None keeps the run's."""
    description = run.description()
    levels: ClassLevels | None = None
    part_levels: tuple[ClassLevels, ...] = ()
    if run.calibration_file.exists():
        before = run.calibration()  # levels are of the same students and pictures, whatever alpha
        levels, part_levels = before.levels, before.part_levels
    elif description.settings.class_levels and len(description.class_counts) > 1:
        levels, part_levels = class_levels(run)
    alpha = run.alpha if alpha is None else alpha
    outcome = calibration_of(good_scores(run, levels=part_levels), alpha, levels, part_levels)
    write_text(run.calibration_file, outcome.model_dump_json(indent=2))
    return outcome
