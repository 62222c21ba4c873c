"""What every metric asks of its input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def checked(
    scores: npt.ArrayLike, truth: npt.ArrayLike, dimensions: int, what: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Scores and truth as arrays, truth as bool; `what` names both in messages.

    Raises ValueError unless both have the same shape in that many dimensions, scores are finite, and truth is 0 or 1 with both
    present.
    """
    values, flags = np.asarray(scores), np.asarray(truth)
    if values.ndim != dimensions or values.shape != flags.shape:
        raise ValueError(f"{what} must have the same {dimensions}-dimensional shape, not {values.shape} and {flags.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{what}: {np.count_nonzero(~np.isfinite(values))} values are not finite")
    positive = flags != 0
    if not (positive == flags).all():
        raise ValueError(f"{what}: the truth must be 0 or 1 everywhere")
    if positive.all() or not positive.any():
        kind = "anomalous" if positive.any() else "good"
        raise ValueError(f"{what}: all {positive.size} are {kind}; both kinds are needed")
    return values, positive
