"""Tiny synthetic trees; every picture differs, so that a mix-up shows."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Save = Callable[..., Path]


@pytest.fixture
def save_picture() -> Save:
    """Write a small RGB picture of random pixels, another at each call; returns its path."""
    numbers = count()

    def save(path: Path, width: int = 8, height: int = 6) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(next(numbers)).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return save


@pytest.fixture
def save_mask() -> Save:
    """Write a grey mask 8x6 with the given pixels (y, x) set to `value`; returns its path."""

    def save(path: Path, *marked: tuple[int, int], value: int = 255, shape: tuple[int, int] = (6, 8)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros(shape, dtype=np.uint8)
        for place in marked:
            pixels[place] = value
        Image.fromarray(pixels).save(path)
        return path

    return save
