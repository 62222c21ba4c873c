"""One picture of a data set, with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.images import ImageError, decode_image

from .errors import DataError

MAX_PIXELS = 200_000_000  # training reads the user's own files: a guard against damaged headers only
GOOD: Literal[0] = 0
ANOMALOUS: Literal[1] = 1


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture on disk or in memory; pixels are read anew at each call.

    `source` is a file, or an array uint8 [H, W] grey or [H, W, 3] RGB. `masks` mark the defect together; a good picture needs
    none. `name` says which picture it is in reports and errors.
    """

    name: str
    source: Path | npt.NDArray[np.uint8]
    label: Literal[0, 1]
    category: str
    defect: str | None = None
    masks: tuple[Path, ...] = ()

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
        try:
            return decode_image(self.encoded(), MAX_PIXELS)
        except ImageError as error:
            raise DataError(f"{self.source} cannot be decoded: {error}") from error

    def mask(self, size: int | None = None) -> npt.NDArray[np.bool_]:
        """Defective pixels, bool [H, W], or [size, size] by area averaging, where at least half must be defective.

        Raises DataError for an anomalous picture without masks (see has_mask), and for unreadable or unequally large ones.
        """
        if not self.has_mask:
            raise DataError(f"{self.name} is anomalous, but has no mask")
        if not self.masks:
            height, width = (size, size) if size else self.pixels().shape[:2]
            return np.zeros((height, width), dtype=np.bool_)
        marked = [_read_mask(path) for path in self.masks]
        if len({mask.shape for mask in marked}) > 1:
            raise DataError(f"the masks of {self.name} differ in size: {', '.join(str(path) for path in self.masks)}")
        union = np.logical_or.reduce(marked)
        if size is None:
            return np.asarray(union, dtype=np.bool_)
        image = Image.fromarray(np.where(union, np.uint8(255), np.uint8(0)))
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) >= 128


def _read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Any value but 0 marks a defect: 1 and 255 are both in use."""
    try:
        with Image.open(path) as image:
            values: npt.NDArray[Any] = np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise DataError(f"mask {path} cannot be read: {error}") from error
    if values.ndim == 3:  # colour: black is good, whatever the opacity
        values = values[:, :, : 1 if values.shape[2] == 2 else 3].max(axis=2)
    return np.asarray(values != 0, dtype=np.bool_)
