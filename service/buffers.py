"""Memory of one batch size, bound to a session once and used for every batch of that size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .images import Pixels

Outputs = dict[str, npt.NDArray[np.float32]]


class Buffers:
    """Input of a bucket, and what computes it. Not for several threads at once."""

    def __init__(self, images: npt.NDArray[np.uint8], compute: Callable[[], Outputs]) -> None:
        """`compute` reads `images`, [bucket, H, W, 3]; its outputs, each [bucket, ...], may change with its next call."""
        self._images, self._compute = images, compute

    def run(self, images: Sequence[Pixels]) -> Outputs:
        """Compute the images, uint8 [H, W, 3], padded with black ones to the bucket; outputs [len(images), ...] are copies."""
        count = len(images)
        for row, image in zip(self._images, images, strict=False):
            row[...] = image
        self._images[count:] = 0
        return {name: value[:count].copy() for name, value in self._compute().items()}
