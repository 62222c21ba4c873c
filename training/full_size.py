"""Anomaly maps against ground truth at its own resolution, picture by picture: MVTec-LOCO's sPRO is defined there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .data import Sample
from .metrics import Computed, PixelCurve, pixel_curve, saturated_regions


def full_size_curve(samples: Sequence[Sample], maps: Sequence[npt.NDArray[np.float32]]) -> PixelCurve:
    """The curve of sPRO: each mask of a sample one region with its own saturation, maps [256, 256] enlarged to the masks' size.

    Two megapixels take some tenths of a second a picture. Good pictures take the size of their category's masks; raises
    DataError for masks that cannot be read.
    """
    sizes = {s.category: s.defects()[0][0].shape for s in reversed(samples) if s.masks}
    known = [(sample, values) for sample, values in zip(samples, maps, strict=True) if sample.category in sizes]

    def enlarged(index: int) -> npt.NDArray[Any]:
        sample, values = known[index]
        height, width = sizes[sample.category]
        return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))

    def mask(index: int) -> npt.NDArray[np.bool_]:
        sample, _ = known[index]
        return sample.mask() if sample.masks else np.zeros(sizes[sample.category], dtype=np.bool_)

    regions = (saturated_regions(*zip(*sample.defects(), strict=True)) if sample.masks else [] for sample, _ in known)
    return pixel_curve(Computed(len(known), enlarged), Computed(len(known), mask), regions)
