"""Shapes as signed distances: negative inside, in the units of the coordinates given."""

from __future__ import annotations

from math import hypot, pi

import numpy as np

from .view import Field


def coverage(distance: Field, pixel: float) -> Field:
    """Share of each pixel that the shape covers: its edge is one pixel soft."""
    cover: Field = np.clip(0.5 - distance / pixel, 0, 1)
    return cover


def smooth_step(low: float, high: float, value: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t: Field = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def box(u: Field, v: Field, half_width: float, half_height: float, radius: float = 0.0) -> Field:
    """A rectangle about the origin with corners rounded by `radius`."""
    du, dv = np.abs(u) - (half_width - radius), np.abs(v) - (half_height - radius)
    outside = np.hypot(np.maximum(du, 0), np.maximum(dv, 0))
    return outside + np.minimum(np.maximum(du, dv), 0) - radius


def trapezoid(u: Field, v: Field, low: float, high: float, low_half: float, high_half: float) -> Field:
    """From u = low with half width `low_half` to u = high with half width `high_half`, symmetric about v = 0."""
    across = np.abs(v)
    slope = (low_half - high_half) / (high - low)
    flank = (across - low_half + (u - low) * slope) / hypot(1, slope)
    distance: Field = np.maximum(np.maximum(flank, u - high), low - u)
    return distance


def smooth_minimum(a: Field, b: Field, radius: float) -> Field:
    """Union of two distances with a fillet of `radius` between them."""
    blend = np.maximum(radius - np.abs(a - b), 0)
    distance: Field = np.minimum(a, b) - blend * blend / (4 * radius)
    return distance


def sectors(theta: Field, count: int) -> tuple[Field, Field]:
    """Fold the full circle into `count` equal sectors: angle from each sector's middle, and the sector's number."""
    turns = theta * (count / (2 * pi))
    number = np.round(turns)
    return (turns - number) * (2 * pi / count), np.mod(number, count)
