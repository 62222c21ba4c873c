"""Host memory of one batch size, bound to a session once and used for every batch of that size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .images import Pixels

Outputs = dict[str, npt.NDArray[np.float32]]


class Buffers:
    """Input and outputs of a bucket. Not for several threads at once."""

    def __init__(self, images: npt.NDArray[np.uint8], outputs: Outputs, compute: Callable[[], None]) -> None:
        """`compute` reads `images`, [bucket, H, W, 3], and fills `outputs`, each [bucket, ...]."""
        self._images, self._outputs, self._compute = images, outputs, compute

    def run(self, images: Sequence[Pixels]) -> Outputs:
        """Compute the images, uint8 [H, W, 3], padded with black ones to the bucket; outputs [len(images), ...] are copies."""
        count = len(images)
        for row, image in zip(self._images, images, strict=False):
            row[...] = image
        self._images[count:] = 0
        self._compute()
        return {name: value[:count].copy() for name, value in self._outputs.items()}
