"""Defects of a face itself: from the good surface to the spoilt picture and the defect's footprint [H, W]."""

from __future__ import annotations

from math import pi

import numpy as np

from .placement import longest_run, luminance, spot, typical_luminance
from .shading import Surface, laid_over
from .shapes import coverage, smooth_step
from .textures import grain
from .view import Field, Picture, View

BROWN, WHITISH = np.array((0.42, 0.31, 0.20), np.float32), np.array((0.56, 0.54, 0.48), np.float32)


def scratch(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A thin curve cut into the face: bright or dark, whichever shows, with a raised edge."""
    half_length = float(rng.uniform(0.24, 0.46))
    x, y, angle = longest_run(view, surface, rng, half_length)
    half_width = max(float(rng.uniform(0.0065, 0.0105)), float(rng.uniform(0.85, 1.15)) * view.pixel)
    bend, wave, phase = rng.uniform(-0.16, 0.16), rng.uniform(0.0, 0.012), rng.uniform(0, 2 * pi)
    along, across = view.local(x, y, angle)
    t = along / half_length
    across = across - (bend * half_length) * (t * t - 0.3) - wave * np.sin(3 * t + phase)
    ragged = 1 + 0.16 * grain(rng, view, 0.04, 0.8, 4)
    taper = ragged * np.sqrt(np.clip(1.06 - np.abs(t) ** 3, 0, 1)) * (np.abs(t) < 1)
    on_face = coverage(-surface.depth, view.pixel)
    core = coverage(np.abs(across) - half_width * taper, view.pixel) * (taper > 0.05) * on_face
    lip = coverage(np.abs(across - (1.7 * half_width)) - (0.6 * half_width) * taper, view.pixel)
    lip = lip * (taper > 0.05) * on_face
    here = typical_luminance(view, surface, x, y)
    tone = 1.0 if here < 0.42 or (here < 0.55 and rng.random() < 0.5) else -1.0
    strength = tone * rng.uniform(0.32, 0.42) * (1 + 0.18 * np.sin(9 * t + phase))
    change = strength * core - 0.35 * strength * lip * (1 - core)
    return surface.image + change[..., None], np.maximum(core, lip * 0.6)


def dent(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A bowl knocked into the face: dark towards the light, bright away from it, with a pushed-up rim."""
    size = float(rng.uniform(0.095, 0.15))
    x, y = spot(view, surface, rng, 0.6 * size)
    along, across = view.local(x, y, float(rng.uniform(0, pi)))
    warp = 1 + 0.14 * grain(rng, view, 0.25, 0.5, 3)
    q = np.hypot(along, across * rng.uniform(1.0, 1.5)) / size * warp
    on_face = coverage(-surface.depth, view.pixel)
    lx, ly = view.to_light
    dx, dy = view.local(x, y, 0.0)
    toward = (dx * lx + dy * ly) / size
    bowl = 1 - smooth_step(0.8, 1.0, q)
    rim = np.exp(-(((q - 1.08) / 0.12) ** 2))
    glint = np.exp(-((toward + 0.55) ** 2 + (q - 0.55) ** 2) * 14)
    shade = (-0.58 * toward - 0.12) * bowl + 0.26 * toward * rim
    lit = 0.40 + 0.6 * luminance(surface.image)  # a bowl also mirrors what its surroundings do not
    change = (shade * lit + 0.28 * glint * bowl) * on_face
    return surface.image + change[..., None], (1 - smooth_step(1.05, 1.25, q)) * on_face


def stain(view: View, surface: Surface, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A dried translucent blotch with a darker rim: brown on what is light, whitish on what is dark."""
    size = float(rng.uniform(0.13, 0.25))
    x, y = spot(view, surface, rng, 0.35 * size)
    along, across = view.local(x, y, float(rng.uniform(0, pi)))
    q = np.hypot(along, across * rng.uniform(1.0, 1.6)) / size
    field = 1 - q + 0.16 * grain(rng, view, 0.3, 0.55, 4)
    on_face = coverage(-surface.depth, view.pixel)
    body = smooth_step(-0.03, 0.13, field) * on_face
    rim = np.exp(-(((field - 0.10) / 0.09) ** 2)) * body
    mottle = 1 + 0.15 * grain(rng, view, 0.12, 0.6, 4)
    here = typical_luminance(view, surface, x, y)
    opacity = np.clip((rng.uniform(0.48, 0.62) * mottle + 0.25 * rim), 0, 0.9) * body
    residue = surface.image * BROWN if here > 0.22 else np.broadcast_to(WHITISH, surface.image.shape)
    return laid_over(surface.image, residue, opacity), body
