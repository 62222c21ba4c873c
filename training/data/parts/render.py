"""One picture of one part, good or with one defect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ...errors import TrainingError
from .camera import draw_camera
from .connector import paint_connector
from .contamination import contamination
from .defects import dent, scratch, stain
from .gear import paint_gear
from .label import paint_label
from .shading import Surface
from .view import Field, Picture, View, make_view
from .washer import paint_washer

Paint = Callable[[View, np.random.Generator, str | None, np.random.Generator], Surface]
Spoil = Callable[[View, Surface, np.random.Generator], tuple[Picture, Field]]

PAINTERS: dict[str, Paint] = {
    "washer": paint_washer,
    "gear": paint_gear,
    "connector": paint_connector,
    "label": paint_label,
}
SPOILERS: dict[str, Spoil] = {"scratch": scratch, "dent": dent, "stain": stain, "contamination": contamination}
KINDS: tuple[str, ...] = tuple(PAINTERS)
DEFECTS: dict[str, tuple[str, ...]] = {
    "washer": ("scratch", "dent", "stain", "missing", "contamination"),
    "gear": ("scratch", "dent", "stain", "missing", "contamination"),
    "connector": ("scratch", "stain", "missing", "contamination", "misprint"),
    "label": ("scratch", "stain", "missing", "contamination", "misprint"),
}
SMALLEST = 32
LIGHT_AZIMUTH = -0.62 * pi  # from above, a little from the left
VISIBLE = 6  # grey levels: a smaller change of the focused picture counts as none
FOOTPRINT = 0.5


@dataclass(frozen=True)
class Part:
    """A picture, uint8 [H, W, 3] RGB, and the pixels [H, W] that its defect changed: none where `defect` is None."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    kind: str
    defect: str | None


def render_part(kind: str, defect: str | None, size: int | tuple[int, int], seed: int) -> Part:
    """The part of `kind` with `defect` (None: good), `size` = side or (width, height) in pixels.

    A pure function of its arguments: the same seed gives the same part, pose, light and noise whatever the defect, and the same
    scene at every size of one aspect ratio (rarely, a defect that only just fits in lies elsewhere). Raises TrainingError for
    an unknown kind or defect, a side below 32 pixels or a negative seed.
    """
    _check(kind, defect, seed)
    width, height = (size, size) if isinstance(size, int) else size
    if min(width, height) < SMALLEST:
        raise TrainingError(f"size {width}x{height} is too small for a part: use at least {SMALLEST} pixels a side")
    stream = [seed, KINDS.index(kind)]
    setting = np.random.default_rng([*stream, 0])
    view = make_view(width, height, float(LIGHT_AZIMUTH + setting.uniform(-0.35, 0.35)))
    camera = draw_camera(setting)

    def paint(fault: str | None) -> Surface:
        return PAINTERS[kind](view, np.random.default_rng([*stream, 1]), fault, np.random.default_rng([*stream, 2]))

    good = paint(None)
    picture = camera.focused(good.image, view)
    mask = np.zeros((height, width), np.bool_)
    if defect is not None:
        if defect in SPOILERS:
            spoilt, footprint = SPOILERS[defect](view, good, np.random.default_rng([*stream, 2]))
            mask = footprint > FOOTPRINT
        else:
            spoilt = paint(defect).image
        before, picture = picture, camera.focused(spoilt, view)
        mask |= _closed(np.abs(picture.astype(np.int16) - before).max(axis=2) >= VISIBLE)
    return Part(camera.sensed(picture), mask, kind, defect)


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without the pinholes where the changed surface happens to look as it did."""
    closed = Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))
    return np.asarray(closed) > 0


def _check(kind: str, defect: str | None, seed: int) -> None:
    if kind not in KINDS:
        raise TrainingError(f"unknown kind of part {kind!r}: use one of {', '.join(KINDS)}")
    if defect is not None and defect not in DEFECTS[kind]:
        raise TrainingError(f"a {kind} has no defect {defect!r}: use one of {', '.join(DEFECTS[kind])}")
    if seed < 0:
        raise TrainingError(f"seed {seed} is negative: use 0 or more")
