"""What the metrics ask of their input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def same_shape(
    scores: npt.ArrayLike, truth: npt.ArrayLike, dimensions: int, what: str
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both as arrays; raises ValueError, naming `what`, unless both have the same shape in that many dimensions."""
    values, flags = np.asarray(scores), np.asarray(truth)
    if values.ndim != dimensions or values.shape != flags.shape:
        raise ValueError(f"{what} must have the same {dimensions}-dimensional shape, not {values.shape} and {flags.shape}")
    return values, flags


def binary(truth: npt.NDArray[Any], what: str) -> npt.NDArray[np.bool_]:
    """The truth as bool; raises ValueError, naming `what`, unless it is 0 or 1 everywhere."""
    positive: npt.NDArray[np.bool_] = truth != 0
    if not (positive == truth).all():
        raise ValueError(f"{what}: the truth must be 0 or 1 everywhere")
    return positive
