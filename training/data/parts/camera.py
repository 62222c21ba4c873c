"""What a line camera makes of a scene: exposure, colour cast, focus and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .view import Picture, View

REFERENCE = 112  # pixels at which the blur is stated; lenses resolve more on larger sensors, but not in proportion


@dataclass(frozen=True)
class Camera:
    """The settings of one exposure; they vary a little from picture to picture."""

    gain: tuple[float, float, float]
    blur: float  # standard deviation in pixels at the reference size
    vignette: float
    noise: float  # standard deviation at full brightness, grey levels
    seed: int

    def focused(self, scene: Picture, view: View) -> NDArray[np.uint8]:
        """The scene through the lens, uint8 [H, W, 3], before the sensor's noise."""
        fall = 1 - self.vignette * (view.x * view.x + view.y * view.y)
        levels = scene * np.asarray(self.gain, np.float32) * fall[..., None] * 255
        picture = Image.fromarray(np.clip(levels + 0.5, 0, 255).astype(np.uint8))
        radius = self.blur * (min(view.width, view.height) / REFERENCE) ** 0.3
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))

    def sensed(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture with the sensor's noise: shot noise, and columns that differ as a line sensor's pixels do."""
        rng = np.random.default_rng(self.seed)
        levels: Picture = picture.astype(np.float32)
        columns = 1 + 0.004 * rng.standard_normal((1, picture.shape[1], 1), np.float32)
        spread = self.noise * np.sqrt(0.12 + levels / 290)
        levels = levels * columns + spread * rng.standard_normal(picture.shape, np.float32)
        sensed: NDArray[np.uint8] = np.clip(levels + 0.5, 0, 255).astype(np.uint8)
        return sensed


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera as it is set today."""
    red, green, blue = rng.uniform(0.94, 1.06) * rng.uniform(0.99, 1.01, 3)
    return Camera(
        gain=(float(red), float(green), float(blue)),
        blur=float(rng.uniform(0.30, 0.62)),
        vignette=float(rng.uniform(0.02, 0.06)),
        noise=float(rng.uniform(1.6, 3.0)),
        seed=int(rng.integers(2**63)),
    )
