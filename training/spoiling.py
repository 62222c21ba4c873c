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
from scipy.ndimage import gaussian_gradient_magnitude, zoom

Pictures = npt.NDArray[np.uint8]  # [N, S, S, 3]
Field = npt.NDArray[np.float32]  # [S, S] in 0..1, or [S, S, 3] in grey levels
Place = npt.NDArray[np.float64]  # x and y, in 0..1

SUPERSAMPLING = 4
MOST_SPOTS = 8  # in one picture
MISSING_SHARE = 0.4  # of pictures have something taken away, the others something added
MOST_MISSING = 3


def spoil(pictures: Pictures, donors: Pictures, rng: np.random.Generator) -> Pictures:
    """A copy of each picture, spoilt. `donors` [M, S, S, 3] are what foreign pieces are cut from."""
    return np.stack([_spoil_one(picture, donors, rng) for picture in pictures]) if len(pictures) else pictures.copy()


def _spoil_one(picture: npt.NDArray[np.uint8], donors: Pictures, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    spoilt = picture.astype(np.float32)
    if rng.random() < MISSING_SHARE:
        for place in _where_something_is(picture, int(rng.integers(1, MOST_MISSING + 1)), rng):
            cover = (_facet, _blob)[rng.integers(2)](len(picture), place, rng)
            spoilt += cover[..., None] * (_shifted(spoilt, rng) - spoilt)
    else:
        for place in rng.uniform(0.05, 0.95, (rng.integers(1, MOST_SPOTS + 1), 2)):
            cover = SHAPES[rng.integers(len(SHAPES))](len(picture), place, rng) * rng.uniform(0.35, 1.0)
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


def _shifted(picture: Field, rng: np.random.Generator) -> Field:
    """By little and not turned, so that surfaces go on where they are covered."""
    angle, length = rng.uniform(0, 2 * math.pi), len(picture) * rng.uniform(0.06, 0.16)
    return np.roll(picture, (round(length * math.sin(angle)), round(length * math.cos(angle))), axis=(0, 1))


def _where_something_is(picture: npt.NDArray[np.uint8], count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Places, x and y in 0..1 [count, 2], the likelier the more contrast there is."""
    size = len(picture)
    contrast = gaussian_gradient_magnitude(picture.mean(2, dtype=np.float32), size / 112).ravel() + 1e-3
    y, x = np.divmod(rng.choice(size * size, count, p=contrast / contrast.sum()), size)
    return np.stack((x, y), axis=1) / size


def _stroke(size: int, place: Place, rng: np.random.Generator) -> Field:
    """A bent line of varying width: a scratch, a fibre, a crack."""
    angle, length = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(math.log(0.08), math.log(0.6)))
    end = place + length * np.array((math.cos(angle), math.sin(angle)))
    control = (place + end) / 2 + rng.normal(0, 0.25 * length, 2)
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * place + 2 * t * (1 - t) * control + t**2 * end
    width = max(1.0, size * math.exp(rng.uniform(math.log(0.006), math.log(0.03))))
    return _drawn(size, lambda draw, scale: draw.line(_points(curve, scale), fill=255, width=round(width * scale / size)))


def _facet(size: int, place: Place, rng: np.random.Generator) -> Field:
    """A turned rectangle, triangle or other polygon, round where it has many corners: a chip, a dent, a missing piece."""
    corners = rng.integers(3, 12)
    turns = rng.uniform(0, 2 * math.pi) + (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * math.pi / corners
    outline = _radius(rng) * rng.uniform(0.7, 1.0, (corners, 1)) * np.stack((np.cos(turns), np.sin(turns)), axis=1)
    outline = place + outline * (1, rng.uniform(0.4, 1.0))
    return _drawn(size, lambda draw, scale: draw.polygon(_points(outline, scale), fill=255))


def _blob(size: int, place: Place, rng: np.random.Generator) -> Field:
    """A cloud with soft or hard edges: a stain, a haze, wear."""
    cells = int(rng.integers(3, 9))
    noise = zoom(rng.standard_normal((cells, cells)).astype(np.float32), size / cells, order=1, grid_mode=True, mode="nearest")
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    inside = 1 - np.hypot(x - place[0], y - place[1]) / (1.4 * _radius(rng))
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
