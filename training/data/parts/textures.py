"""Textures made of noise. One seed gives the same surface at every picture size, only with more detail: coarse octaves are
drawn first, octaves finer than a pixel not at all, and a child of the generator draws them, so that its own stream goes on
the same."""

from __future__ import annotations

from math import ceil, cos, hypot, sin

import numpy as np
from PIL import Image

from .view import Field, View

FINEST = 1.3  # pixels: finer cells would alias


def grain(rng: np.random.Generator, view: View, cell: float, persistence: float = 0.6, octaves: int = 9) -> Field:
    """Isotropic noise [H, W] of about unit spread; the coarsest cell measures `cell` picture units."""
    (rng,), (half_width, half_height) = rng.spawn(1), view.half_size
    total: Field = np.zeros((view.height, view.width), np.float32)
    amplitude, power = 1.0, 0.0
    for _ in range(octaves):
        if power and cell < FINEST * view.pixel:
            break
        columns, rows = 2 * half_width / cell, 2 * half_height / cell
        grid = rng.standard_normal((ceil(rows) + 4, ceil(columns) + 4), np.float32)
        window = (2.0, 2.0, 2.0 + columns, 2.0 + rows)
        layer = Image.fromarray(grid).resize((view.width, view.height), Image.Resampling.LANCZOS, window)
        total += amplitude * np.asarray(layer)
        power += amplitude * amplitude
        amplitude, cell = amplitude * persistence, cell / 2
    total /= 0.85 * power**0.5
    return total


def streaks(
    rng: np.random.Generator, view: View, angle: float, length: float, width: float, persistence: float = 0.8, octaves: int = 7
) -> Field:
    """Brush marks [H, W] along `angle`: noise with cells of `length` x `width` picture units, the width halved each octave."""
    (rng,), (half_width, half_height) = rng.spawn(1), view.half_size
    reach = hypot(half_width, half_height)
    c, s = cos(angle), sin(angle)
    total: Field = np.zeros((view.height, view.width), np.float32)
    amplitude, power = 1.0, 0.0
    for _ in range(octaves):
        if power and width < FINEST * view.pixel:
            break
        grid = rng.standard_normal((ceil(2 * reach / width) + 5, ceil(2 * reach / length) + 5), np.float32)
        along, across = view.pixel / length, view.pixel / width
        matrix = (
            *(along * c, along * s, (reach - half_width * c - half_height * s) / length + 2),
            *(-across * s, across * c, (reach + half_width * s - half_height * c) / width + 2),
        )
        layer = Image.fromarray(grid).transform(
            (view.width, view.height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        total += amplitude * np.asarray(layer)
        power += amplitude * amplitude
        amplitude, width, length = amplitude * persistence, width / 2, length * 0.8
    total /= 0.7 * power**0.5
    return total


def grooves(rng: np.random.Generator, radius: Field, pixel: float, cell: float, persistence: float = 0.85) -> Field:
    """Turning marks [H, W]: noise over the radius alone, the coarsest groove `cell` units wide."""
    (rng,) = rng.spawn(1)
    reach = float(radius.max()) + 2 * cell
    step = min(pixel, cell / 2)
    at = np.arange(0, reach + 2 * step, step, dtype=np.float32)
    table: Field = np.zeros(len(at), np.float32)
    amplitude, power = 1.0, 0.0
    for _ in range(8):
        if power and cell < FINEST * pixel:
            break
        knots = rng.standard_normal(ceil(8 / cell), np.float32)
        table += amplitude * np.interp(at, np.arange(len(knots)) * cell, knots).astype(np.float32)
        power += amplitude * amplitude
        amplitude, cell = amplitude * persistence, cell / 2
    place = radius / step
    below = place.astype(np.int32)
    fraction = place - below.astype(np.float32)
    marks: Field = (table[below] * (1 - fraction) + table[below + 1] * fraction) / (0.75 * power**0.5)
    return marks
