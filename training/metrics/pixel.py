"""Metrics of one score a pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from .checks import checked

WHAT = "maps and masks"
EIGHT_CONNECTED = np.ones((3, 3), dtype=np.int64)


def pixel_auroc(maps: npt.ArrayLike, masks: npt.ArrayLike) -> float:
    """Area under the ROC curve over all pixels, in [0, 1], of maps [N, H, W] for masks [N, H, W] (1 = defective).

    Raises ValueError for other shapes, for maps that are not finite, and for masks of one kind only.
    """
    values, positive = checked(maps, masks, 3, WHAT)
    return float(roc_auc_score(positive.ravel(), values.ravel()))


def aupro(maps: npt.ArrayLike, masks: npt.ArrayLike, fpr_limit: float = 0.3) -> float:
    """Area under the per-region overlap against the false positive rate up to `fpr_limit`, divided by it: in [0, 1].

    Maps and masks [N, H, W]. A region is an 8-connected component of a mask; the overlap at a threshold is the mean over all
    regions of the share of their pixels at or above it. Exact: every value is a threshold, and the curve is interpolated at the
    limit. Raises ValueError as pixel_auroc does, and for a limit outside (0, 1].
    """
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], not {fpr_limit}")
    values, positive = checked(maps, masks, 3, WHAT)
    order = np.argsort(values, axis=None)[::-1]
    ordered = values.ravel()[order]
    # equal values cross a threshold together: the curve has a point after each run of them
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    negative = ~positive.ravel()[order]
    fpr = np.append(0.0, np.cumsum(negative)[ends] / np.count_nonzero(negative))
    overlap = np.append(0.0, np.cumsum(_overlap_weights(positive).ravel()[order])[ends])
    inside = int(np.searchsorted(fpr, fpr_limit, side="right"))
    if inside < len(fpr):
        at_limit = np.interp(fpr_limit, fpr[inside - 1 : inside + 1], overlap[inside - 1 : inside + 1])
        fpr, overlap = np.append(fpr[:inside], fpr_limit), np.append(overlap[:inside], at_limit)
    return float(np.trapezoid(overlap, fpr) / fpr_limit)


def _overlap_weights(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """What each pixel adds to the mean overlap once it is found: 1 / (regions x pixels of its region), 0 outside [N, H, W]."""
    weights = np.zeros(masks.shape, dtype=np.float64)
    regions = 0
    for mask, weight in zip(masks, weights, strict=True):
        components, count = label(mask, structure=EIGHT_CONNECTED)
        sizes = np.bincount(components.ravel())
        weight[mask] = 1 / sizes[components[mask]]
        regions += count
    return weights / regions
