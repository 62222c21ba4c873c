"""A black pin header, seen into its cavity, on a light tray."""

from __future__ import annotations

from math import cos, sin

import numpy as np

from .printing import Artwork, Blocks, Text, ink, misprinted
from .shading import Surface, bevel, laid_over, soft_shadow, tinted
from .shapes import box, coverage
from .textures import grain
from .view import Field, Picture, Pose, View, draw_pose

COLUMNS, ROWS, PITCH = 5, 2, 0.255
CAVITY_Y = -0.115
PLASTIC, GOLD, SILK = (0.96, 1.0, 1.06), (1.12, 0.86, 0.44), (0.80, 0.82, 0.80)
ARTWORK: Artwork = (
    Text("DT-10", -0.52, 0.335, 0.145, bold=0.035),
    Text("24V 3A", 0.13, 0.335, 0.145, bold=0.035),
    Blocks(((-0.70, 0.30, -0.615, 0.385),)),  # marks pin 1
)


def paint_connector(view: View, rng: np.random.Generator, fault: str | None, fault_rng: np.random.Generator) -> Surface:
    """Fault "missing": a pin is not there; "misprint": the print on the housing is wrong."""
    pose = draw_pose(rng, 5)
    u, v = pose.coordinates(view)
    level, print_strength = rng.uniform(0.17, 0.20), rng.uniform(0.78, 0.9)
    housing = np.minimum(box(u, v, 0.80, 0.47, 0.06), box(u, v, 0.86, 0.20, 0.05))  # with a latch on either side
    cavity = np.minimum(box(u, v - CAVITY_Y, 0.685, 0.265, 0.03), box(u, v + 0.39, 0.13, 0.05, 0.0))
    housing, cavity = housing * pose.scale, cavity * pose.scale
    cover, sunk = coverage(housing, view.pixel), coverage(cavity, view.pixel)

    lx, ly = view.to_light
    gradient = 1 + 0.10 * (view.x * lx + view.y * ly)
    body = level * gradient + 0.009 * grain(rng, view, 0.025, 1.0)
    body += 0.17 * bevel(housing, 0.030, view) + 0.02
    floor = level * 0.48 * (1 - 0.75 * soft_shadow(1 - sunk, view, 0.07, 0.035))
    body += (floor - body) * sunk - 0.15 * bevel(cavity, 0.02, view) * sunk
    picture = tinted(body, PLASTIC)

    artwork = misprinted(ARTWORK, fault_rng) if fault == "misprint" else ARTWORK
    silk = ink(view, pose, artwork, 0.80, 0.47) * print_strength
    picture = laid_over(picture, tinted(gradient, SILK), silk)
    absent = int(fault_rng.integers(COLUMNS * ROWS)) if fault == "missing" else None
    picture = _with_pins(picture, view, rng, pose, u, v, absent)

    tray = _tray(view, rng)
    shade = 0.45 * soft_shadow(cover, view, 0.09, 0.05) + 0.3 * soft_shadow(cover, view, 0.02, 0.02)
    tray *= (1 - np.minimum(shade, 0.75))[..., None]
    return Surface(laid_over(tray, picture, cover), np.minimum(-housing, cavity))


def _with_pins(
    picture: Picture, view: View, rng: np.random.Generator, pose: Pose, u: Field, v: Field, absent: int | None
) -> Picture:
    """Square pins with pyramid tips, and the shadows they throw on the floor of the cavity."""
    column = np.clip(np.round(u / PITCH), -(COLUMNS // 2), COLUMNS // 2)
    row = (v >= CAVITY_Y).astype(np.float32) - 0.5
    number = ((row + 0.5) * COLUMNS + column + COLUMNS // 2).astype(np.int32)
    lean = rng.normal(0, 0.006, (COLUMNS * ROWS, 2)).astype(np.float32)  # no pin stands quite straight
    shine = rng.normal(1, 0.05, COLUMNS * ROWS).astype(np.float32)
    pu = u - column * PITCH - lean[number, 0]
    pv = v - CAVITY_Y - row * 0.245 - lean[number, 1]
    pin = box(pu, pv, 0.068, 0.068, 0.012) * pose.scale
    if absent is not None:
        pin = np.where(number == absent, 1, pin)
    cover = coverage(pin, view.pixel)
    picture = picture * (1 - 0.6 * soft_shadow(cover, view, 0.06, 0.02))[..., None]
    lx, ly = view.to_light
    c, s = cos(pose.angle), sin(pose.angle)
    light_u, light_v = c * lx + s * ly, c * ly - s * lx
    steep = np.clip((np.abs(pu) - np.abs(pv)) / view.pixel + 0.5, 0, 1)  # which facet, softly
    facet = np.sign(pu) * light_u * steep + np.sign(pv) * light_v * (1 - steep)
    tip = coverage(box(pu, pv, 0.027, 0.027, 0.008), view.pixel)
    luminance = 0.62 + 0.30 * facet
    luminance += (0.98 - luminance) * tip
    return laid_over(picture, tinted(luminance * shine[number], GOLD), cover)


def _tray(view: View, rng: np.random.Generator) -> Picture:
    luminance = rng.uniform(0.70, 0.76) + 0.014 * grain(rng, view, 0.035, 1.0)
    return tinted(luminance + 0.012 * grain(rng, view, 1.1), (1.0, 0.985, 0.95))
