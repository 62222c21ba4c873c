"""The view of the camera: picture coordinates, the light, and where the part lies."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.floating[Any]]  # one value a pixel, [H, W]; float32 at run time, as Python floats do not widen it
Picture = NDArray[np.floating[Any]]  # display values in about [0, 1], [H, W, 3]


@dataclass(frozen=True)
class View:
    """Picture coordinates: x to the right and y down, the shorter side spans [-1, 1]; `pixel` is a pixel's size in them."""

    width: int
    height: int
    pixel: float
    x: Field  # [1, W]
    y: Field  # [H, 1]
    light: float  # azimuth of the light, radians

    @property
    def half_size(self) -> tuple[float, float]:
        """Half width and half height in picture coordinates."""
        return self.width * self.pixel / 2, self.height * self.pixel / 2

    @property
    def to_light(self) -> tuple[float, float]:
        """Unit vector in the picture's plane that points to the light."""
        return cos(self.light), sin(self.light)

    def index(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the pixels at the points (x, y), clipped to the picture."""
        half_width, half_height = self.half_size
        rows = np.clip((np.asarray(y) + half_height) / self.pixel, 0, self.height - 1).astype(np.intp)
        columns = np.clip((np.asarray(x) + half_width) / self.pixel, 0, self.width - 1).astype(np.intp)
        return rows, columns

    def local(self, x: float, y: float, angle: float) -> tuple[Field, Field]:
        """Coordinates [H, W] along and across a direction through the point (x, y)."""
        dx, dy = self.x - x, self.y - y
        c, s = cos(angle), sin(angle)
        return c * dx + s * dy, c * dy - s * dx


def make_view(width: int, height: int, light: float) -> View:
    """A view of width x height pixels under a light from the azimuth `light` (radians)."""
    pixel = 2 / min(width, height)
    x = ((np.arange(width, dtype=np.float32) + 0.5) - width / 2) * pixel
    y = ((np.arange(height, dtype=np.float32) + 0.5) - height / 2) * pixel
    return View(width, height, pixel, x[None, :].astype(np.float32), y[:, None].astype(np.float32), light)


@dataclass(frozen=True)
class Pose:
    """Where a part lies: its centre, its angle (radians) and a scale close to 1."""

    x: float
    y: float
    angle: float
    scale: float

    def coordinates(self, view: View) -> tuple[Field, Field]:
        """Part coordinates [H, W]; a part unit is `scale` picture units."""
        u, v = view.local(self.x, self.y, self.angle)
        return u / self.scale, v / self.scale


def draw_pose(rng: np.random.Generator, degrees: float) -> Pose:
    """A pose with a few per cent of variation, turned by at most ± `degrees`."""
    x, y = rng.uniform(-0.045, 0.045, 2)
    return Pose(float(x), float(y), radians(rng.uniform(-degrees, degrees)), float(rng.uniform(0.965, 1.035)))
