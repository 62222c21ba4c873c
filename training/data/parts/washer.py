"""A turned thrust washer with oil holes on a ribbed rubber belt."""

from __future__ import annotations

from math import pi

import numpy as np

from .shading import Surface, anisotropic_highlight, bevel, laid_over, soft_shadow, tinted
from .shapes import coverage, sectors
from .textures import grain, grooves
from .view import Field, Picture, View, draw_pose

HOLES = 6
STEEL = (0.97, 0.99, 1.02)


def paint_washer(view: View, rng: np.random.Generator, fault: str | None, fault_rng: np.random.Generator) -> Surface:
    """Fault "missing": one of the oil holes was never drilled."""
    pose = draw_pose(rng, 180)
    u, v = pose.coordinates(view)
    radius, theta = np.hypot(u, v), np.arctan2(v, u)
    spread, level, tilt = rng.uniform(0.20, 0.30), rng.uniform(0.33, 0.39), rng.uniform(-0.12, 0.12)

    across, number = sectors(theta, HOLES)
    hole = np.hypot(radius * np.cos(across) - 0.535, radius * np.sin(across)) - 0.072
    if fault == "missing":
        hole = np.where(number == fault_rng.integers(HOLES), 1, hole)
    distance = np.maximum(np.maximum(radius - 0.76, 0.31 - radius), -hole) * pose.scale
    cover = coverage(distance, view.pixel)

    face = _turned_face(view, rng, radius, theta + pose.angle, spread, level, tilt)
    edge = bevel(distance, 0.030, view)
    face = face * (1 - 0.25 * np.abs(edge)) + 0.46 * edge
    belt = _belt(view, rng)
    shade = 0.55 * soft_shadow(cover, view, 0.075, 0.045) + 0.25 * soft_shadow(cover, view, 0.02, 0.02)
    belt *= (1 - np.minimum(shade, 0.8))[..., None]
    return Surface(laid_over(belt, tinted(face, STEEL), cover), -distance)


def _turned_face(
    view: View, rng: np.random.Generator, radius: Field, theta: Field, spread: float, level: float, tilt: float
) -> Field:
    fine, coarse = grooves(rng, radius, view.pixel, 0.02), grooves(rng, radius, view.pixel, 0.12)
    # Grooves shine where they stand across the light: two bright fans, and two faint ones of a fill light.
    offset = np.sin(theta - view.light) + tilt * radius + 0.05 * fine
    fill = np.sin(theta - (view.light + 0.42 * pi)) + 0.06 * coarse
    shine = 0.56 * anisotropic_highlight(offset, spread) + 0.14 * anisotropic_highlight(fill, 0.22)
    marks = 0.032 * fine + 0.012 * coarse
    face = (level + shine) * (1 + marks) + 0.008 * grain(rng, view, 0.03)
    line = anisotropic_highlight(radius - 0.415, 0.010) + anisotropic_highlight(radius - 0.66, 0.010)
    turned: Field = face * (1 - 0.22 * line)
    return turned


def _belt(view: View, rng: np.random.Generator) -> Picture:
    ribs = np.cos((view.y + rng.uniform(0, 0.1)) * (2 * pi / 0.1))
    luminance = rng.uniform(0.125, 0.15) + 0.018 * ribs + 0.014 * grain(rng, view, 0.05, 1.0)
    return tinted(luminance + 0.008 * grain(rng, view, 0.7), (0.98, 1.0, 1.04))
