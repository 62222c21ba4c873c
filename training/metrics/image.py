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
