"""Where on a face a defect goes, and how bright the face is there."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from .shading import Surface
from .view import Field, Picture, View

CANDIDATES = 200


def spot(view: View, surface: Surface, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """A random point at least `margin` inside the face; the deepest of those tried where the face is narrower."""
    half_width, half_height = view.half_size
    points = rng.uniform((-half_width, -half_height), (half_width, half_height), (CANDIDATES, 2))
    depths = surface.depth[view.index(points[:, 0], points[:, 1])]
    chosen = int(np.argmax(depths >= margin)) if (depths >= margin).any() else int(np.argmax(depths))
    return float(points[chosen, 0]), float(points[chosen, 1])


def longest_run(view: View, surface: Surface, rng: np.random.Generator, half_length: float) -> tuple[float, float, float]:
    """Where a line of this length lies on the face with most of it, out of a few random tries."""
    best, chosen = -1.0, (0.0, 0.0, 0.0)
    along = np.linspace(-half_length, half_length, 15)
    for _ in range(10):
        x, y = spot(view, surface, rng, 0.04)
        angle = float(rng.uniform(0, pi))
        share = float(np.mean(surface.depth[view.index(x + along * cos(angle), y + along * sin(angle))] > 0))
        if share > best:
            best, chosen = share, (x, y, angle)
    return chosen


def typical_luminance(view: View, surface: Surface, x: float, y: float, reach: float = 0.12) -> float:
    """Median over the face around (x, y): what shows there must differ from it, not from a speck of print."""
    (top, bottom), (left, right) = view.index((x - reach, x + reach), (y - reach, y + reach))
    around = slice(top, bottom + 1), slice(left, right + 1)
    window = luminance(surface.image[around])
    face = window[surface.depth[around] > 0]
    return float(np.median(face)) if face.size else float(np.median(window))


def luminance(image: Picture) -> Field:
    mean: Field = image.mean(axis=2, dtype=np.float32)
    return mean
