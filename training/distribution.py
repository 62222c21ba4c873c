"""The distribution of a probability over good pictures, which a line is compared with later (see service/drift.py)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from service.model_format import Distribution

BINS = 10  # at most
# With fewer pictures a bin, chance alone moves the index: for n good pictures here and m in the window it is (1/n + 1/m) times
# a chi-square with one degree of freedom less than bins (Yurdakul, Western Michigan University 2018).
IMAGES_PER_BIN = 20


def distribution(probabilities: npt.NDArray[np.float64]) -> Distribution | None:
    """Bins of about equally many of `probabilities` [N]; None if there are fewer than 40, or if all are equal.

    Edges lie midway between two of them, so that rounding to float32 moves none into another bin.
    """
    ascending = np.sort(probabilities)
    bins = min(BINS, len(ascending) // IMAGES_PER_BIN)
    served = ascending.astype(np.float32)
    wanted = [served[round(len(ascending) * index / bins)] for index in range(1, bins)]
    cuts = sorted(set(np.searchsorted(served, wanted).tolist()) - {0})  # equal ones share a bin
    if not cuts:
        return None
    return Distribution(
        edges=tuple(float(ascending[cut - 1] + ascending[cut]) / 2 for cut in cuts),
        counts=tuple(after - before for before, after in pairwise([0, *cuts, len(ascending)])),
    )
