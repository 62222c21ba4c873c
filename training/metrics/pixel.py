"""Metrics of one score a pixel. Where several are wanted of the same maps, ask `pixel_curve` once and the curve for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import starmap

import numpy as np
import numpy.typing as npt

from .checks import binary, same_shape
from .pixel_curve import PixelCurve, Region, pixel_curve

WHAT = "maps and masks"


def pixel_auroc(maps: npt.ArrayLike, masks: npt.ArrayLike) -> float:
    """Area under the ROC curve over all pixels, in [0, 1], of maps [N, H, W] for masks [N, H, W] (1 = defective).

    Raises ValueError for other shapes, for maps that are not finite, and for masks of one kind only.
    """
    return _curve(maps, masks).auroc()


def pixel_average_precision(maps: npt.ArrayLike, masks: npt.ArrayLike) -> float:
    """Average precision over all pixels, in (0, 1], of maps and masks [N, H, W]; raises ValueError as pixel_auroc does."""
    return _curve(maps, masks).average_precision()


def pixel_f1_max(maps: npt.ArrayLike, masks: npt.ArrayLike) -> float:
    """Largest F1 of the pixels over all thresholds, in (0, 1], of maps and masks [N, H, W]; errors as of pixel_auroc."""
    return _curve(maps, masks).f1_max()


def aupro(maps: npt.ArrayLike, masks: npt.ArrayLike, fpr_limit: float = 0.3) -> float:
    """Area under the per-region overlap against the false positive rate up to `fpr_limit`, divided by it: in [0, 1].

    Maps and masks [N, H, W]. A region is an 8-connected component of a mask; the overlap at a threshold is the mean over all
    regions of the share of their pixels at or above it. Exact: every value is a threshold, and the curve is interpolated at the
    limit. Raises ValueError as pixel_auroc does, and for a limit outside (0, 1].
    """
    return _curve(maps, masks).overlap_area(fpr_limit)


def spro(
    maps: Sequence[npt.ArrayLike],
    masks: Sequence[npt.ArrayLike],
    saturations: Sequence[Sequence[float]],
    fpr_limit: float = 0.05,
) -> float:
    """Area under the saturated per-region overlap up to `fpr_limit`, divided by it: in [0, 1]. MVTec-LOCO's pixel metric.

    Maps N x [H, W] at the resolution of the ground truth, masks N x [R, H, W], one for each of a picture's R defects (0 if it
    is good), and the saturation area in pixels of each. A defect counts as wholly found when that many of its pixels are, or
    all, because a missing part may lie anywhere in the space left free (Bergmann et al., "Beyond Dents and Scratches", IJCV
    2022). Sizes and R may differ between pictures. Raises ValueError as pixel_auroc does, and for an empty mask or a saturation
    that is not positive.
    """
    stacks = [np.asarray(stack) != 0 for stack in masks]
    if not len(maps) == len(stacks) == len(saturations):
        raise ValueError(
            f"{len(maps)} maps, {len(stacks)} stacks of masks and {len(saturations)} lists of saturations do not match"
        )
    curve = pixel_curve(
        [np.asarray(values) for values in maps],
        [stack.any(axis=0) for stack in stacks],
        starmap(saturated_regions, zip(stacks, saturations, strict=True)),
    )
    return curve.overlap_area(fpr_limit)


def saturated_regions(stack: Iterable[npt.NDArray[np.bool_]], saturations: Sequence[float]) -> list[Region]:
    """One region for each mask of a stack R x [H, W], saturated at so many pixels; raises ValueError as spro does."""
    pixels = [np.flatnonzero(mask) for mask in stack]
    if len(pixels) != len(saturations):
        raise ValueError(f"{len(pixels)} masks and {len(saturations)} saturations in one picture: each mask needs one")
    for found, saturation in zip(pixels, saturations, strict=True):
        if not (saturation > 0 and len(found)):
            raise ValueError(f"a defect of {len(found)} pixels cannot saturate at {saturation:g} pixels")
    return [Region(found, min(float(saturation), len(found))) for found, saturation in zip(pixels, saturations, strict=True)]


def _curve(maps: npt.ArrayLike, masks: npt.ArrayLike) -> PixelCurve:
    values, truth = same_shape(maps, masks, 3, WHAT)
    return pixel_curve(list(values), [binary(mask, WHAT) for mask in truth])
