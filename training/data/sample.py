"""One picture of a data set, with what is known about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from service.images import ImageError, decode_image, model_input, read_picture
from service.model_format import Shape

from .errors import DataError

MAX_PIXELS = 200_000_000  # training reads the user's own files: a guard against damaged headers only
GOOD: Literal[0] = 0
ANOMALOUS: Literal[1] = 1
_ASPECT = 0.02  # that the sides' ratio of mask and picture may differ by: a smaller mask is rounded


@dataclass(frozen=True)
class Saturation:
    """From how much of a defect on it counts as wholly found: a number of pixels, or a share of the defect's area."""

    threshold: float
    relative: bool

    def area(self, pixels: int) -> float:
        """In pixels, of a defect of so many."""
        return self.threshold * pixels if self.relative else self.threshold


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture on disk or in memory; pixels are read anew at each call.

    `source` is a file, or an array uint8 [H, W] grey or [H, W, 3] RGB. `masks` mark the defect together; a good picture needs
    none. `name` says which picture it is in reports and errors. `saturations` (MVTec-LOCO) are those of its masks, by the value
    of their pixels. `set_apart` marks good pictures that the data set itself keeps for calibration.
    """

    name: str
    source: Path | npt.NDArray[np.uint8]
    label: Literal[0, 1]
    category: str
    defect: str | None = None
    masks: tuple[Path, ...] = ()
    saturations: Mapping[int, Saturation] | None = None
    set_apart: bool = False

    @property
    def has_mask(self) -> bool:
        """Whether it is known for each pixel if it is defective: good pictures have no such pixel."""
        return self.label == GOOD or bool(self.masks)

    def encoded(self) -> bytes:
        """The bytes of the file, or those of the array; raises DataError if the file cannot be read."""
        if isinstance(self.source, np.ndarray):
            return self.source.tobytes()
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise DataError(f"{self.source} cannot be read: {error.strerror}") from error

    def pixels(self) -> npt.NDArray[np.uint8]:
        """RGB uint8 [H, W, 3], decoded as the service does; raises DataError if the file is no readable picture."""
        if isinstance(self.source, np.ndarray):
            return self.source if self.source.ndim == 3 else np.repeat(self.source[:, :, None], 3, axis=2)
        return self._read(lambda data: decode_image(data, MAX_PIXELS))

    def model_input(self, shape: Shape) -> npt.NDArray[np.uint8]:
        """One row of the graph's input, uint8 [height, width, 3] of `shape`, as the service makes it; raises DataError."""
        if isinstance(self.source, np.ndarray):
            return model_input(self.pixels(), shape)
        return self._read(lambda data: read_picture(data, MAX_PIXELS, shape).resized(shape))

    def _read(self, decode: Callable[[bytes], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        try:
            return decode(self.encoded())
        except ImageError as error:
            raise DataError(f"{self.source} cannot be decoded: {error}") from error

    def mask(self, size: int | None = None) -> npt.NDArray[np.bool_]:
        """Defective pixels, bool [H, W], or [size, size] by area averaging, where at least half must be defective.

        A defect that is nowhere half of such a pixel marks the one that it covers most: a small one must not count as good.

        Raises DataError for an anomalous picture without masks (see has_mask), and for unreadable or unequally large ones.
        """
        if not self.has_mask:
            raise DataError(f"{self.name} is anomalous, but has no mask")
        if not self.masks:
            height, width = (size, size) if size else self.pixels().shape[:2]
            return np.zeros((height, width), dtype=np.bool_)
        marked = [values != 0 for values in map(_read_mask, self.masks)]
        if len({mask.shape for mask in marked}) > 1:
            raise DataError(f"the masks of {self.name} differ in size: {', '.join(str(path) for path in self.masks)}")
        union = np.logical_or.reduce(marked)
        self._ensure_alike(union.shape)
        if size is None:
            return np.asarray(union, dtype=np.bool_)
        image = Image.fromarray(np.where(union, np.uint8(255), np.uint8(0)))
        shares = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
        return shares >= min(128, max(1, int(shares.max())))

    def _ensure_alike(self, mask: tuple[int, ...]) -> None:
        """Raise DataError for a mask that is not the picture's, made smaller or larger at most."""
        (height, width), (mask_height, mask_width) = upright_size(self.source), mask
        if abs(mask_width * height / (mask_height * width) - 1) > _ASPECT:
            raise DataError(
                f"mask {self.masks[0]} is {mask_width} x {mask_height}, and its picture {width} x {height}: "
                "draw it on the picture as it is shown upright"
            )

    def defects(self) -> list[tuple[npt.NDArray[np.bool_], float]]:
        """Each mask, bool [H, W] at its own resolution, with the number of pixels at which it saturates.

        Raises DataError for unreadable and empty masks, and for one whose pixels have a value that `saturations` lack.
        """
        found = []
        for path in self.masks:
            values = _read_mask(path)
            value, pixels = int(values.max()), int(np.count_nonzero(values))
            if not pixels:
                raise DataError(f"mask {path} marks nothing")
            if self.saturations is not None and value not in self.saturations:
                raise DataError(f"mask {path} has pixels of value {value}, of which defects_config.json says nothing")
            saturation = self.saturations[value].area(pixels) if self.saturations is not None else pixels
            found.append((values != 0, float(saturation)))
        return found


def upright_size(source: Path | npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width of a picture as the service turns it, from its header; raises DataError for an unreadable one."""
    if isinstance(source, np.ndarray):
        return source.shape[0], source.shape[1]
    try:
        with Image.open(source) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    except (OSError, SyntaxError) as error:
        raise DataError(f"{source} cannot be read: {error}") from error
    return (width, height) if turned else (height, width)


def _read_mask(path: Path) -> npt.NDArray[Any]:
    """Values [H, W]: any but 0 marks a defect, 1 and 255 are both in use, which JPEG would smear."""
    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                raise DataError(f"mask {path} is a JPEG, whose edges are not sharp: save it as PNG")
            # a palette's indices are kinds of defects, if the first is black
            coloured = image.mode == "P" and (image.getpalette() or [0, 0, 0])[:3] != [0, 0, 0]
            values: npt.NDArray[Any] = np.asarray(image.convert("RGB") if coloured else image)
    except (OSError, SyntaxError) as error:
        raise DataError(f"mask {path} cannot be read: {error}") from error
    if values.ndim == 3:  # colour: black is good, whatever the opacity
        values = values[:, :, : 1 if values.shape[2] == 2 else 3].max(axis=2)
    return values
