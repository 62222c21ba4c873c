"""Pictures for the tiny model, as arrays and as files."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.tiny_model import FAILING_PIXEL, SIZE, slow_pixel

Pixels = npt.NDArray[np.uint8]


def grey(size: int = SIZE, level: int = 128) -> Pixels:
    """A good picture, [size, size, 3]."""
    return np.full((size, size, 3), level, dtype=np.uint8)


def spotted() -> Pixels:
    """A picture with a local anomaly: its last patch is white."""
    pixels = grey()
    pixels[42:, 42:] = 255
    return pixels


def reddish() -> Pixels:
    """A picture with a semantic anomaly, its mean grey being normal."""
    pixels = grey()
    pixels[...] = (228, 128, 28)
    return pixels


def noise(seed: int, height: int = SIZE, width: int = SIZE) -> Pixels:
    """Random pixels [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slow(steps: int = 200) -> Pixels:
    """A picture whose batch occupies the engine for long."""
    pixels = grey()
    pixels[0, 0] = slow_pixel(steps)
    return pixels


def failing() -> Pixels:
    """A picture whose batch makes the engine raise."""
    pixels = grey()
    pixels[0, 0] = FAILING_PIXEL
    return pixels


def encode(pixels: npt.NDArray[np.generic], format_: str = "PNG", **options: object) -> bytes:
    """A picture file."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format_, **options)
    return buffer.getvalue()
