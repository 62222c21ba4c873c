"""Whether a line still looks like the pictures that its model was calibrated on.

Ours: the last 2,000 pictures of the last day are compared with the calibration's held-out good ones by the population
stability index of each probability, PSI = sum over bins of (p - q) ln(p / q). By custom 0.1 is worth a look and 0.25 is another
population. With 200 pictures in the window chance alone exceeds 0.25 less than once in 100 times, with 500 once in 500.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .model_format import Distribution, ScoreName
from .schemas import BranchScores

WINDOW_IMAGES = 2000
WINDOW_SECONDS = 86_400.0  # a line of nine parts an hour fills the least in it
LEAST_IMAGES = 200  # of fewer no index is told


class DriftWindow:
    """The latest probabilities of one model version. Belongs to the event loop; what it tells is computed when it is asked."""

    def __init__(self, reference: Mapping[ScoreName, Distribution]) -> None:
        self._reference = reference
        self._images: deque[tuple[float, BranchScores, bool]] = deque(maxlen=WINDOW_IMAGES)

    def add(self, probabilities: BranchScores, anomalous: bool) -> None:
        """Take a scored picture in; `anomalous` by the model's own threshold."""
        self._images.append((time.monotonic(), probabilities, anomalous))

    def images(self) -> int:
        """Pictures in the window."""
        oldest = time.monotonic() - WINDOW_SECONDS
        while self._images and self._images[0][0] < oldest:
            self._images.popleft()
        return len(self._images)

    def anomalous_ratio(self) -> float | None:
        """Share of the window that is anomalous; None of an empty one."""
        count = self.images()
        return sum(anomalous for _, _, anomalous in self._images) / count if count else None

    def stability(self) -> dict[ScoreName, float]:
        """Population stability index of each probability that has a reference; none while the window holds too few."""
        if self.images() < LEAST_IMAGES:
            return {}
        return {
            name: stability_index(known, np.array([getattr(probabilities, name) for _, probabilities, _ in self._images]))
            for name, known in self._reference.items()
        }


def stability_index(reference: Distribution, probabilities: npt.NDArray[np.float64]) -> float:
    """PSI of `probabilities` [N] against a reference, 0 or more. Half a picture more in each bin keeps it finite."""
    bins = np.searchsorted(reference.edges, probabilities, side="right")
    counts = np.bincount(bins, minlength=len(reference.counts))
    found = (counts + 0.5) / (counts + 0.5).sum()
    expected = np.array(reference.counts) / sum(reference.counts)
    return float(((found - expected) * np.log(found / expected)).sum())
