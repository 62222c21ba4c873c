"""Spoilt copies of good pictures (ours): the decoder student sees one and has to rebuild the features of the good picture.

The bottleneck's dropout keeps a wide teacher's student from rebuilding what it never saw; a narrow teacher's still does. What
is pasted here is deliberately generic (strokes, blobs and facets, filled with pieces of the same or another picture, or with a
change of tone): it teaches to return to the good, not what a defect looks like.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import zoom

Pictures = npt.NDArray[np.uint8]  # [N, S, S, 3]
Field = npt.NDArray[np.float32]  # [S, S] in 0..1, or [S, S, 3] in grey levels

SUPERSAMPLING = 4
MOST_SPOTS = 8  # in one picture


def spoil(pictures: Pictures, donors: Pictures, rng: np.random.Generator) -> Pictures:
    """A copy of each picture with one to eight spots spoilt. `donors` [M, S, S, 3] are what foreign pieces are cut from."""
    return np.stack([_spoil_one(picture, donors, rng) for picture in pictures]) if len(pictures) else pictures.copy()


def _spoil_one(picture: npt.NDArray[np.uint8], donors: Pictures, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    size = len(picture)
    spoilt = picture.astype(np.float32)
    for _ in range(rng.integers(1, MOST_SPOTS + 1)):
        cover = SHAPES[rng.integers(len(SHAPES))](size, rng) * rng.uniform(0.35, 1.0)
        spoilt += cover[..., None] * (_filling(spoilt, donors, rng) - spoilt)
    rounded: npt.NDArray[np.uint8] = np.clip(spoilt + 0.5, 0, 255).astype(np.uint8)
    return rounded


def _filling(picture: Field, donors: Pictures, rng: np.random.Generator) -> Field:
    """What shows where the picture is covered: itself from elsewhere, another picture, another tone or a flat colour."""
    kind = rng.integers(4)
    if kind == 0:
        return _moved(picture, rng)
    if kind == 1:
        return _moved(donors[rng.integers(len(donors))].astype(np.float32), rng)
    if kind == 2:
        tone = rng.choice((-1.0, 1.0)) * rng.uniform(25, 120) + rng.normal(0, 8, 3)
        toned: Field = (picture + tone).astype(np.float32)
        return toned
    colour = rng.uniform(0, 255) + rng.normal(0, 20, 3)
    return np.broadcast_to(colour.astype(np.float32), picture.shape)


def _moved(picture: Field, rng: np.random.Generator) -> Field:
    moved = np.roll(picture, tuple(rng.integers(0, len(picture), 2)), axis=(0, 1))
    return np.rot90(moved, int(rng.integers(4)))


def _stroke(size: int, rng: np.random.Generator) -> Field:
    """A bent line of varying width: a scratch, a fibre, a crack."""
    start = rng.uniform(0.05, 0.95, 2)
    angle, length = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(math.log(0.08), math.log(0.6)))
    end = start + length * np.array((math.cos(angle), math.sin(angle)))
    control = (start + end) / 2 + rng.normal(0, 0.25 * length, 2)
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    width = max(1.0, size * math.exp(rng.uniform(math.log(0.006), math.log(0.03))))
    return _drawn(size, lambda draw, scale: draw.line(_points(curve, scale), fill=255, width=round(width * scale / size)))


def _facet(size: int, rng: np.random.Generator) -> Field:
    """A turned rectangle, triangle or other polygon, round where it has many corners: a chip, a dent, a missing piece."""
    corners = rng.integers(3, 12)
    turns = rng.uniform(0, 2 * math.pi) + (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * math.pi / corners
    outline = _radius(rng) * rng.uniform(0.7, 1.0, (corners, 1)) * np.stack((np.cos(turns), np.sin(turns)), axis=1)
    outline = rng.uniform(0.05, 0.95, 2) + outline * (1, rng.uniform(0.4, 1.0))
    return _drawn(size, lambda draw, scale: draw.polygon(_points(outline, scale), fill=255))


def _blob(size: int, rng: np.random.Generator) -> Field:
    """A cloud with soft or hard edges: a stain, a haze, wear."""
    cells = int(rng.integers(3, 9))
    noise = zoom(rng.standard_normal((cells, cells)).astype(np.float32), size / cells, order=1, grid_mode=True, mode="nearest")
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    centre, radius = rng.uniform(0.05, 0.95, 2), 1.4 * _radius(rng)
    inside = 1 - np.hypot(y - centre[0], x - centre[1]) / radius
    cloud = np.clip((inside + 0.35 * noise) * rng.uniform(2, 12), 0, 1)
    cover: Field = (cloud * (inside > -1)).astype(np.float32)
    return cover


def _radius(rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(0.03), math.log(0.16)))


def _points(curve: npt.NDArray[np.float64], scale: int) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in curve * scale]


def _drawn(size: int, paint: Callable[[ImageDraw.ImageDraw, int], None]) -> Field:
    canvas = Image.new("L", (SUPERSAMPLING * size, SUPERSAMPLING * size))
    paint(ImageDraw.Draw(canvas), SUPERSAMPLING * size)
    cover: Field = np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)
    return cover


SHAPES = (_stroke, _facet, _blob)
