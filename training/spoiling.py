"""Spoilt copies of good pictures (ours): the decoder student sees one and has to rebuild the features of the good picture.

The bottleneck's dropout keeps a wide teacher's student from rebuilding what it never saw; a narrow teacher's still does. What
is done here is deliberately generic: spots are pasted (strokes, blobs and facets, filled with pieces of the same or another
picture, or with a change of tone), and things that stand out (a hole, a tooth, a letter) are taken away as if they had never
been there. It teaches to return to the good, not what a defect looks like.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, gaussian_filter, label, zoom

Pictures = npt.NDArray[np.uint8]  # [N, S, S, 3]
Field = npt.NDArray[np.float32]  # [S, S] in 0..1, or [S, S, 3] in grey levels

SUPERSAMPLING = 4
MOST_SPOTS = 8  # in one picture
TAKING_SHARE = 0.4  # of the pictures lose something; the others, and those where nothing stands out, get spots
MOST_TAKEN = 3
SMALLEST_THING, LARGEST_THING = 0.002, 0.03  # of the picture's area
SHIFTS_TRIED = 16


def spoil(pictures: Pictures, donors: Pictures, rng: np.random.Generator) -> Pictures:
    """A copy of each picture, spoilt. `donors` [M, S, S, 3] are what foreign pieces are cut from."""
    return np.stack([_spoil_one(picture, donors, rng) for picture in pictures]) if len(pictures) else pictures.copy()


def _spoil_one(picture: npt.NDArray[np.uint8], donors: Pictures, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    spoilt = picture.astype(np.float32)
    takes_away = rng.random() < TAKING_SHARE
    for _ in range(rng.integers(1, 1 + (MOST_TAKEN if takes_away else MOST_SPOTS))):
        thing = _something(spoilt.mean(axis=2), rng) if takes_away else None
        spoilt = _with_spot(spoilt, donors, rng) if thing is None else _without(thing, spoilt, rng)
    rounded: npt.NDArray[np.uint8] = np.clip(spoilt + 0.5, 0, 255).astype(np.uint8)
    return rounded


def _with_spot(picture: Field, donors: Pictures, rng: np.random.Generator) -> Field:
    cover = SHAPES[rng.integers(len(SHAPES))](len(picture), rng) * rng.uniform(0.35, 1.0)
    spotted: Field = picture + cover[..., None] * (_filling(picture, donors, rng) - picture)
    return spotted


def _without(thing: npt.NDArray[np.bool_], picture: Field, rng: np.random.Generator) -> Field:
    """The picture goes on where the thing was: of some neighbouring pieces the one that fits best along the edge."""
    size = len(picture)
    margin = max(1, round(size / 56))
    gone = binary_dilation(thing, iterations=margin)
    y, x = np.nonzero(binary_dilation(gone, iterations=margin) & ~gone)
    shifts = [_shift(size, rng) for _ in range(SHIFTS_TRIED)]
    misfits = [np.abs(picture[(y - dy) % size, (x - dx) % size] - picture[y, x]).mean() for dy, dx in shifts]
    cover = gaussian_filter(gone.astype(np.float32), 0.5)[..., None]
    without: Field = picture + cover * (np.roll(picture, shifts[int(np.argmin(misfits))], axis=(0, 1)) - picture)
    return without


def _something(grey: Field, rng: np.random.Generator) -> npt.NDArray[np.bool_] | None:
    """A connected piece [S, S] darker or brighter than what is around it, the likelier the more it stands out; None if none."""
    size = len(grey)
    around = gaussian_filter(grey, size * math.exp(rng.uniform(math.log(0.03), math.log(0.12))))
    relief = (gaussian_filter(grey, 0.01 * size) - around) * rng.choice((-1, 1))
    things, _ = label(relief > relief.std())
    areas = np.bincount(things.ravel()) / size**2
    weights = np.bincount(things.ravel(), relief.ravel()) * ((areas > SMALLEST_THING) & (areas < LARGEST_THING))
    weights[0] = 0
    return things == rng.choice(len(weights), p=weights / weights.sum()) if weights.any() else None


def _shift(size: int, rng: np.random.Generator) -> tuple[int, int]:
    angle, length = rng.uniform(0, 2 * math.pi), size * rng.uniform(0.06, 0.25)
    return round(length * math.sin(angle)), round(length * math.cos(angle))


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
