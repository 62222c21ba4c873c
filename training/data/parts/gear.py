"""A brass spur gear with a cast web, a hub and a keyway on a blue mat."""

from __future__ import annotations

from math import pi

import numpy as np

from .shading import Surface, anisotropic_highlight, bevel, laid_over, soft_shadow, tinted
from .shapes import box, coverage, sectors, smooth_minimum, trapezoid
from .textures import grain, streaks
from .view import Field, Picture, View, draw_pose

TEETH = 18
SPOKE_HOLES = 5
ROOT, TIP = 0.685, 0.845
BRASS = (1.06, 0.86, 0.50)


def paint_gear(view: View, rng: np.random.Generator, fault: str | None, fault_rng: np.random.Generator) -> Surface:
    """Fault "missing": a tooth is broken off."""
    pose = draw_pose(rng, 180)
    u, v = pose.coordinates(view)
    radius, theta = np.hypot(u, v), np.arctan2(v, u)
    spread, level, aim = rng.uniform(0.35, 0.5), rng.uniform(0.45, 0.51), rng.uniform(-0.35, 0.35)
    brush = rng.uniform(-0.15, 0.15) + view.light + pi / 2

    outline = _teeth(radius, theta, fault, fault_rng)
    bore = np.minimum(radius - 0.155, box(u, v - 0.16, 0.045, 0.055))
    across, _ = sectors(theta, SPOKE_HOLES)
    holes = np.hypot(radius * np.cos(across) - 0.42, radius * np.sin(across)) - 0.092
    distance = np.maximum(np.maximum(outline, -bore), -holes) * pose.scale
    web = np.maximum(radius - 0.575, 0.265 - radius) * pose.scale
    cover, sunk = coverage(distance, view.pixel), coverage(web, view.pixel)

    marks = streaks(rng, view, brush, 1.1, 0.03)
    along, _ = view.local(pose.x, pose.y, brush)
    shine = anisotropic_highlight(along - aim + 0.025 * marks, spread)
    ground = (level + 0.42 * shine) * (1 + 0.03 * marks)
    cast = level * 0.74 * (1 + 0.05 * grain(rng, view, 0.045, 1.0) + 0.12 * (shine - 0.5))
    shelter = soft_shadow(1 - sunk, view, 0.022, 0.018)  # the rim and the hub shade the web's floor
    face = ground + (cast * (1 - 0.45 * shelter) - ground) * sunk
    face -= 0.30 * bevel(web, 0.022, view) * sunk
    edge = bevel(distance, 0.020, view)
    face = face * (1 - 0.18 * np.abs(edge)) + 0.34 * edge

    mat = _mat(view, rng)
    shade = 0.5 * soft_shadow(cover, view, 0.085, 0.05) + 0.3 * soft_shadow(cover, view, 0.02, 0.02)
    mat *= (1 - np.minimum(shade, 0.8))[..., None]
    return Surface(laid_over(mat, tinted(face, BRASS), cover), -distance)


def _teeth(radius: Field, theta: Field, fault: str | None, fault_rng: np.random.Generator) -> Field:
    across, number = sectors(theta, TEETH)
    u, v = radius * np.cos(across), radius * np.sin(across)
    tooth = trapezoid(u, v, ROOT - 0.05, TIP - 0.012, 0.083, 0.042) - 0.012
    if fault == "missing":
        stump, slant, rough = fault_rng.uniform(0.0, 0.05), fault_rng.uniform(-0.4, 0.4), fault_rng.uniform(0.003, 0.006)
        fracture = ROOT + stump + slant * v + rough * (np.sin(v * 131) + np.sin(v * 83 + 1) + np.sin(v * 37 + 2))
        broken = np.maximum(tooth, u - fracture)
        tooth = np.where(number == fault_rng.integers(TEETH), broken, tooth)
    return smooth_minimum(radius - ROOT, tooth, 0.03)


def _mat(view: View, rng: np.random.Generator) -> Picture:
    luminance = rng.uniform(0.40, 0.45) * (1 + 0.035 * grain(rng, view, 0.06, 1.0))
    return tinted(luminance + 0.012 * grain(rng, view, 0.9), (0.66, 0.80, 1.0))
