"""What an exported float32 graph loses when it is rounded, and the calibration that its rounded scores need."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from scipy.stats import spearmanr

from service.model_format import INPUT, score_threshold

from .calibrate import calibration_of
from .errors import TrainingError
from .good_scores import HeldOutScores, Scores, good_scores
from .half_precision import to_half
from .int8 import to_int8
from .metrics import auroc_placements
from .model_constants import set_calibration, whiten_anew
from .model_file import LARGEST_FILE, save_model, weight_bytes
from .progress import Progress
from .run_folder import RunCalibration, RunFolder
from .spoiling import spoil
from .stored_weights import restore
from .tiling import pictures_at_once

log = logging.getLogger(__name__)
Pictures = npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[np.float32]]

HALF_TOLERANCE = 5e-3  # of any score, relative where it is above 1
RANKING_KEPT = 0.99  # Spearman's correlation of the joint scores
AUROC_LOST = 0.003  # that int8 may be shown to cost
AUROC_LOST_AT_MOST = 0.02  # whether shown or not: few pictures show little
QUANTILE = 1.645  # of the normal distribution: a loss is shown where chance would show it in one of twenty
WHITENED = 2_000  # training pictures, as in fit
COMPARED = 200  # good pictures, each with a spoilt copy


def round_to_half(file: Path, run: RunFolder) -> None:
    """Rewrite the float32 file in half precision; raises TrainingError where scores or their order change too much."""
    held_out = run.held_out()
    pictures = np.array(held_out[_spread(len(held_out), COMPARED)])
    at_once = pictures_at_once(run.description().settings.tiles)
    before = scores(file, pictures, at_once)
    model = onnx.load(file)
    restore(model)
    save_model(to_half(model), file)
    after = scores(file, pictures, at_once)
    for name, values in before.items():
        difference = float((np.abs(values - after[name]) / np.maximum(1, np.abs(values))).max())
        if not difference <= HALF_TOLERANCE:
            raise TrainingError(
                f"not exported: {name} in fp16 differs from float32 by {difference:.2g}, over the tolerance {HALF_TOLERANCE}; "
                "export with --precision fp32"
            )
    joint = before["joint_score"]
    # the order of scores that are all the same is an accident
    kept = float(spearmanr(joint, after["joint_score"]).statistic) if np.ptp(joint) > HALF_TOLERANCE else 1.0
    if not kept >= RANKING_KEPT:
        raise TrainingError(
            f"not exported: fp16 ranks the held-out pictures otherwise (Spearman's correlation {kept:.3f}, at least "
            f"{RANKING_KEPT} wanted); export with --precision fp32"
        )


def quantise(file: Path, run: RunFolder, outcome: RunCalibration) -> RunCalibration:
    """Rewrite the float32 file with linear layers in int8, whiten its residuals anew, and calibrate it on its own scores.

    Raises TrainingError where it is shown to tell good pictures from spoilt ones worse than before by more than 0.3 points of
    AUROC, or seems to by more than 2; for a run of folds, which has set no pictures apart; and for weights beyond 2 GB.
    """
    if run.description().settings.folds:
        raise TrainingError(
            "--precision int8 is calibrated anew on held-out pictures, and a run with --folds has none: take another precision"
        )
    at_once = pictures_at_once(run.description().settings.tiles)
    good = run.held_out()
    compared = _spread(len(good), COMPARED)
    spoilt = _spoilt(good[compared], run.training())
    before = scores(file, good, at_once)
    reference = auroc_placements(before["joint_score"][compared], scores(file, spoilt, at_once)["joint_score"])
    model = onnx.load(file)
    restore(model)
    if weight_bytes(model) > LARGEST_FILE:
        raise TrainingError("a model beyond 2 GB cannot be quantised by ONNX Runtime: export with --precision fp16")
    training = run.training()
    rounded = to_int8(model, training, at_once)
    whiten_anew(rounded, model, training[_spread(len(training), WHITENED)], at_once)
    save_model(rounded, file)
    after = scores(file, good, at_once)
    held_out = HeldOutScores(*(_float64(after.get(name)) for name in ("local_score", "semantic_score", "map_maximum")))
    if len(outcome.part_levels) > 1 and held_out.local is not None:
        held_out = by_part_levels(held_out, before, good_scores(run, ("local",), outcome.part_levels))
    anew = calibration_of(held_out, outcome.alpha, outcome.levels, outcome.part_levels)
    set_calibration(rounded, anew.calibration, file)
    save_model(rounded, file)
    # joined by the new calibration only, two scores are what the service will answer
    calibrated = [scores(file, pictures, at_once)["joint_score"] for pictures in (good[compared], spoilt)]
    lost = reference - auroc_placements(*calibrated)
    error = 2 * float(lost.std()) / len(lost) ** 0.5
    comparison = (
        f"of good held-out pictures against {len(lost)} spoilt ones, float32 has an AUROC of {100 * reference.mean():.2f} %, "
        f"int8 {100 * lost.mean():.2f} points less (standard error {100 * error:.2f})"
    )
    if not (lost.mean() - QUANTILE * error <= AUROC_LOST and lost.mean() <= AUROC_LOST_AT_MOST):
        raise TrainingError(f"not exported: {comparison}; export with --precision fp32")
    log.info("%s", comparison)
    if QUANTILE * error > 2 * AUROC_LOST:
        log.warning("so few pictures show no loss below %.1f points: evaluate float32 and int8", 100 * QUANTILE * error)
    alarms = int((after["joint_score"] >= score_threshold(outcome.threshold)).sum())
    log.info("the float32 threshold would reject %d of %d good ones: calibrated anew", alarms, len(good))
    return anew


def scores(file: Path, pictures: Pictures, at_once: int) -> Outputs:
    """Every score [M] of pictures uint8 [M, H, W, 3] by ONNX Runtime, and of each map its maximum as "map_maximum"."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    parts: list[Outputs] = []
    with Progress("scoring held-out pictures", len(pictures)) as bar:
        for start in range(0, len(pictures), at_once):
            batch = np.array(pictures[start : start + at_once])
            outputs = dict(zip(names, session.run(names, {INPUT: batch}), strict=True))
            if "anomaly_map" in outputs:
                outputs["map_maximum"] = outputs.pop("anomaly_map").max(axis=(1, 2))
            parts.append(outputs)
            for _ in batch:
                bar.advance()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def by_part_levels(rounded: HeldOutScores, served: Outputs, crossed: HeldOutScores) -> HeldOutScores:
    """Rounded scores in units of levels that the pictures had no part in, as float32's `crossed` ones are, where the file knows
    the levels of all. A level is a factor, and in either nearly the same one (of tiles, if the same ones score highest).
    """
    local, map_maximum = (
        one * np.divide(other, mine, out=np.ones_like(other), where=mine > 0)
        for one, other, mine in (
            (cast(Scores, rounded.local), cast(Scores, crossed.local), served["local_score"]),
            (cast(Scores, rounded.map_maximum), cast(Scores, crossed.map_maximum), served["map_maximum"]),
        )
    )
    return HeldOutScores(local, rounded.semantic, map_maximum)


def _spoilt(good: Pictures, donors: Pictures) -> Pictures:
    """A copy of each picture with its largest square spoilt."""
    side = min(good.shape[1:3])
    copies = np.array(good)
    donors = donors[_spread(len(donors), COMPARED)][:, :side, :side]
    copies[:, :side, :side] = spoil(copies[:, :side, :side], donors, np.random.default_rng(0))
    return copies


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Numbers of at most so many of `count` pictures, from all over them: they lie class by class."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _float64(values: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64] | None:
    return None if values is None else values.astype(np.float64)
