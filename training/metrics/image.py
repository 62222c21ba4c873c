"""Metrics of one score a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from .checks import binary, same_shape

WHAT = "scores and labels"


def image_auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the ROC curve, in [0, 1], of scores [N] for labels [N] (1 = anomalous).

    Raises ValueError for other shapes, for scores that are not finite, and for labels of one kind only.
    """
    values, positive = _checked(scores, labels)
    return float(roc_auc_score(positive, values))


def auroc_placements(good: npt.ArrayLike, anomalous: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Each pair's part [N] in the AUROC of good scores [N] against anomalous ones [N], which is the mean of these parts.

    Twice their standard error is that of the AUROC, where good and anomalous pictures belong together in pairs; the same holds
    for the difference of two models' parts (DeLong et al., Biometrics 1988). Takes N x N numbers of memory.
    """
    above = np.sign(np.asarray(anomalous)[:, None] - np.asarray(good))
    placements: npt.NDArray[np.float64] = 0.5 + (above.mean(0, dtype=np.float64) + above.mean(1, dtype=np.float64)) / 4
    return placements


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Average precision, in [0, 1], of scores [N] for labels [N] (1 = anomalous); raises ValueError as image_auroc does."""
    values, positive = _checked(scores, labels)
    return float(average_precision_score(positive, values))


def f1_max(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Largest F1 over all thresholds, in (0, 1], of scores [N] for labels [N]; raises ValueError as image_auroc does."""
    values, positive = _checked(scores, labels)
    precision, recall, _ = precision_recall_curve(positive, values)
    total = precision + recall
    return float((2 * precision * recall / np.where(total > 0, total, 1)).max())


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    values, truth = same_shape(scores, labels, 1, WHAT)
    if not np.isfinite(values).all():
        raise ValueError(f"{WHAT}: {np.count_nonzero(~np.isfinite(values))} values are not finite")
    positive = binary(truth, WHAT)
    if positive.all() or not positive.any():
        kind = "anomalous" if positive.any() else "good"
        raise ValueError(f"{WHAT}: all {positive.size} are {kind}; both kinds are needed")
    return values, positive
