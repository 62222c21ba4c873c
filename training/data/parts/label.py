"""A printed rating plate on brushed aluminium."""

from __future__ import annotations

import numpy as np

from .printing import Artwork, Blocks, Text, ink, misprinted, without_one
from .shading import Surface, anisotropic_highlight, bevel, laid_over, soft_shadow, tinted
from .shapes import box, coverage
from .textures import grain, streaks
from .view import Picture, View, draw_pose

HALF_WIDTH, HALF_HEIGHT = 0.82, 0.60
PAPER, BAND, INK, ALUMINIUM = (1.0, 0.99, 0.965), (0.10, 0.33, 0.56), (0.09, 0.09, 0.11), (0.97, 0.985, 1.0)


def _matrix_code(left: float, top: float, module: float) -> Blocks:
    modules = np.random.default_rng(20).random((10, 10)) < 0.5
    modules[:, 0] = modules[-1, :] = True  # the finder: two solid sides, two dotted ones
    modules[0, :], modules[:, -1] = np.arange(10) % 2 == 0, np.arange(10) % 2 == 1
    return Blocks(
        tuple(
            (left + x * module, top + y * module, left + (x + 1) * module, top + (y + 1) * module)
            for y, x in np.argwhere(modules).tolist()
        )
    )


def _bar_code(left: float, top: float, right: float, bottom: float) -> Blocks:
    widths = np.random.default_rng(7).choice([1, 1, 2, 3], 41)  # odd: bars and gaps take turns, a bar at either end
    edges = left + (right - left) * np.concatenate([[0], np.cumsum(widths)]) / widths.sum()
    return Blocks(tuple((edges[number], top, edges[number + 1], bottom) for number in range(0, 41, 2)))


WHITE: Artwork = (
    Text("DUET", -0.73, -0.435, 0.205, bold=0.05),
    Text("SERVO", 0.235, -0.435, 0.125, bold=0.02),
)
BLACK: Artwork = (
    Text("DM-2048", -0.73, -0.165, 0.182, bold=0.035),
    Text("24V 2.5A", -0.73, 0.035, 0.165, bold=0.015),
    Text("IP67 0417", -0.73, 0.215, 0.165, bold=0.015),
    _matrix_code(0.355, -0.215, 0.0385),
    _bar_code(-0.73, 0.36, 0.73, 0.51),
)


def paint_label(view: View, rng: np.random.Generator, fault: str | None, fault_rng: np.random.Generator) -> Surface:
    """Fault "missing": a line or a code was not printed; "misprint": a line is wrong, incomplete, smeared or out of place."""
    pose = draw_pose(rng, 5)
    u, v = pose.coordinates(view)
    level, strength = rng.uniform(0.84, 0.89), rng.uniform(0.88, 0.96)
    outline = box(u, v, HALF_WIDTH, HALF_HEIGHT, 0.05) * pose.scale
    cover = coverage(outline, view.pixel)

    lx, ly = view.to_light
    gradient = 1 + 0.05 * (view.x * lx + view.y * ly)
    paper = level * gradient + 0.006 * grain(rng, view, 0.03, 0.9)
    paper += 0.08 * bevel(outline, 0.012, view)
    picture = tinted(paper, PAPER)

    black, white = BLACK, WHITE
    if fault == "missing":
        black = without_one(BLACK, fault_rng)
    elif fault == "misprint":
        black = misprinted(BLACK, fault_rng)
    band = coverage(np.maximum(outline, (v + 0.305) * pose.scale), view.pixel)
    press = strength * (1 + 0.02 * grain(rng, view, 0.04, 0.8))
    picture = laid_over(picture, tinted(gradient, BAND), band * press)
    picture = laid_over(picture, tinted(paper, PAPER), ink(view, pose, white, HALF_WIDTH, HALF_HEIGHT))
    picture = laid_over(picture, tinted(gradient, INK), ink(view, pose, black, HALF_WIDTH, HALF_HEIGHT) * press)

    plate = _plate(view, rng)
    shade = 0.4 * soft_shadow(cover, view, 0.022, 0.018) + 0.2 * soft_shadow(cover, view, 0.0, 0.015)
    plate *= (1 - shade)[..., None]
    return Surface(laid_over(plate, picture, cover), -outline)


def _plate(view: View, rng: np.random.Generator) -> Picture:
    angle, aim, level = rng.uniform(-0.06, 0.06), rng.uniform(-0.5, 0.5), rng.uniform(0.44, 0.49)
    marks = streaks(rng, view, angle, 1.2, 0.05)
    along, _ = view.local(0, 0, angle)
    shine = anisotropic_highlight(along - aim + 0.1 * marks, 0.7)
    return tinted((level + 0.2 * shine) * (1 + 0.05 * marks), ALUMINIUM)
