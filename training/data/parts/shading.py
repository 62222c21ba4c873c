"""How light falls on surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .view import Field, Picture, View

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Surface:
    """A painted scene: display values, and how deep inside the part's face each pixel lies (picture units, < 0 outside)."""

    image: Picture
    depth: Field


def anisotropic_highlight(offset: Field, spread: float) -> Field:
    """Highlight of brushed metal: 1 where the marks stand across the light (offset 0), half of that at `spread`."""
    t = offset / spread
    highlight: Field = 1 / (1 + t * t)
    return highlight  # heavier tails than a Gaussian, as measured metals have


def bevel(distance: Field, width: float, view: View) -> Field:
    """Light on a chamfer of `width` along the edge of a shape, in [-1, 1]: positive where the edge looks towards the light."""
    down, right = np.gradient(distance)
    norm = np.hypot(down, right) + 1e-6
    lx, ly = view.to_light
    facing = (right * lx + down * ly) / norm
    width = max(width, 1.2 * view.pixel)
    depth = 1 + distance / width
    # Half a pixel of softness at the inner edge of the chamfer; the outer edge is the shape's own.
    light: Field = facing * np.clip(depth * (width / view.pixel) * 0.7, 0, 1)
    return light


def soft_shadow(cover: Field, view: View, length: float, softness: float) -> Field:
    """Shadow [H, W] in [0, 1] of what `cover` covers, thrown `length` away from the light and blurred by `softness`."""
    lx, ly = view.to_light
    dx, dy = -lx * length / view.pixel, -ly * length / view.pixel
    layer = Image.fromarray((cover * 255).astype(np.uint8))
    layer = layer.transform(layer.size, Image.Transform.AFFINE, (1, 0, -dx, 0, 1, -dy), Image.Resampling.BILINEAR)
    layer = layer.filter(ImageFilter.GaussianBlur(softness / view.pixel))
    return np.asarray(layer, np.float32) / 255


def tinted(luminance: Field, colour: Colour) -> Picture:
    """A picture of one colour with the given luminance."""
    return luminance[..., None] * np.asarray(colour, np.float32)


def laid_over(below: Picture, above: Picture, alpha: Field) -> Picture:
    """`above` over `below`, as opaque as `alpha` says."""
    return below + (above - below) * alpha[..., None]
