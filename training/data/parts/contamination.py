"""Things that do not belong on a part."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from .placement import spot, typical_luminance
from .shading import Surface, laid_over, soft_shadow, tinted
from .shapes import coverage, smooth_step
from .textures import grain
from .view import Field, Picture, View

DARK_THREADS = ((0.10, 0.12, 0.30), (0.45, 0.08, 0.10), (0.08, 0.08, 0.08))
LIGHT_THREADS = ((0.85, 0.87, 0.92), (0.90, 0.35, 0.30), (0.55, 0.75, 0.95))


def contamination(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    """Something that does not belong there: a fibre, a chip of metal, a droplet or crumbs."""
    return (_fibre, _chip, _droplet, _crumbs)[rng.integers(4)](view, surface, rng)


def _fibre(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    half_length = float(rng.uniform(0.2, 0.36))
    half_width = max(float(rng.uniform(0.010, 0.015)), 0.85 * view.pixel)
    x, y = spot(view, surface, rng, 0.05)
    along, across = view.local(x, y, float(rng.uniform(0, 2 * pi)))
    t = along / half_length
    bend, curl, phase = rng.uniform(-0.5, 0.5), rng.uniform(0.08, 0.2), rng.uniform(0, 2 * pi)
    frequency = rng.uniform(2.2, 3.6)
    angle = frequency * t + phase
    middle = bend * t * t + curl * np.sin(angle)
    slope = 2 * bend * t + curl * frequency * np.cos(angle)
    distance = np.abs(across - middle * half_length) / np.sqrt(1 + slope * slope)
    distance = np.maximum(distance, np.abs(along) - half_length) - half_width
    cover = coverage(distance, view.pixel)
    choices = LIGHT_THREADS if typical_luminance(view, surface, x, y) < 0.45 else DARK_THREADS
    return _laid_down(view, surface, tinted(np.ones_like(cover), choices[rng.integers(3)]), cover, 0.014, 0.010)


def _chip(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    size = float(rng.uniform(0.095, 0.14))
    x, y = spot(view, surface, rng, 0.6 * size)
    along, across = view.local(x, y, float(rng.uniform(0, 2 * pi)))
    distance, facet = np.full_like(along, -1.0), np.zeros_like(along)
    turn = rng.uniform(0, 2 * pi)
    for number in range(6):  # a convex splinter: the part within six planes, each with its own brightness
        direction = turn + (number + rng.uniform(-0.3, 0.3)) * pi / 3
        plane = along * cos(direction) + across * 1.5 * sin(direction) - (size * rng.uniform(0.6, 1.0))
        facet = np.where(plane > distance, rng.uniform(0.28, 0.82), facet)
        distance = np.maximum(distance, plane)
    cover = coverage(distance, view.pixel)
    return _laid_down(view, surface, tinted(facet, (0.98, 0.99, 1.02)), cover, 0.03, 0.016)


def _droplet(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    size = float(rng.uniform(0.085, 0.135))
    x, y = spot(view, surface, rng, 0.5 * size)
    dx, dy = view.local(x, y, 0.0)
    q = np.hypot(dx, dy * rng.uniform(0.9, 1.1)) / size
    q = q * (1 + 0.05 * grain(rng, view, 0.2, 0.5, 2))
    cover = coverage((q - 1) * size, view.pixel)
    lx, ly = view.to_light
    toward = (dx * lx + dy * ly) / size
    glint = np.exp(-(((dx / size - (0.45 * lx)) ** 2 + (dy / size - (0.45 * ly)) ** 2) * 40))
    caustic = np.exp(-((toward + 0.6) ** 2) * 8)
    lens = surface.image * (0.66 - 0.44 * smooth_step(0.55, 1.0, q) * (toward > -0.2))[..., None]
    lens = lens + (0.30 * caustic + 0.90 * glint)[..., None]
    return _laid_down(view, surface, lens, cover, 0.02, 0.012)


def _crumbs(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    x, y = spot(view, surface, rng, 0.04)
    distance = np.full((view.height, view.width), 1, np.float32)
    warp = 0.010 * grain(rng, view, 0.05, 0.6, 3)
    for number in range(int(rng.integers(5, 9))):
        angle, reach = rng.uniform(0, 2 * pi), 0 if number == 0 else rng.uniform(0.06, 0.16)
        dx, dy = view.local(x + reach * cos(angle), y + reach * sin(angle), 0.0)
        distance = np.minimum(distance, np.hypot(dx, dy) - rng.uniform(0.022, 0.042))
    cover = coverage(distance + warp, view.pixel)
    bright = typical_luminance(view, surface, x, y) < 0.4
    luminance = (0.72 if bright else 0.16) * (1 + 0.15 * grain(rng, view, 0.04, 0.7, 4))
    return _laid_down(view, surface, tinted(luminance, (1.0, 0.92, 0.80)), cover, 0.018, 0.012)


def _laid_down(
    view: View, surface: Surface, thing: Picture, cover: Field, height: float, softness: float
) -> tuple[Picture, Field]:
    """The thing on the surface with the shadow that it throws."""
    shadow = 0.5 * soft_shadow(cover, view, height, softness)
    return laid_over(surface.image * (1 - shadow)[..., None], thing, cover), np.maximum(cover, shadow)
