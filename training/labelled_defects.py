"""Labelled defects that training is shown beside good pictures (ours)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.model_format import PATCH, Shape

from .data import DataError, Sample
from .fit_settings import FitSettings
from .tiling import StoredTiles

LEAST_SHARE = 0.1  # of a patch, from which a mask marks it
Pictures = npt.NDArray[np.uint8]
Marks = npt.NDArray[np.float32]


class LabelledDefects:
    """Pictures uint8 [K, H, W, 3] and masks of 0 and 1 [K, H, W]; of pictures that are cut, the tiles that show a defect."""

    def __init__(self, pictures: Pictures, masks: npt.NDArray[np.uint8], settings: FitSettings) -> None:
        self.settings = settings
        self.pictures = StoredTiles(pictures, settings.input_size, settings.tiles)
        self.masks = StoredTiles(masks, settings.input_size, settings.tiles)
        numbers = np.arange(len(self.pictures))
        shown = [settings.tiles is None or bool(self.masks[numbers[n : n + 1]].any()) for n in range(len(numbers))]
        self.numbers = numbers[shown]

    def draw(self, rng: np.random.Generator) -> tuple[Pictures, Marks]:
        """A step's defects uint8 [M, S, S, 3], with their marked patches [M, patches]; turned over, so that few are many."""
        count = max(1, round(self.settings.defect_share * self.settings.batch_size))
        numbers = rng.choice(self.numbers, count, replace=count > len(self.numbers))
        pictures, masks = self.pictures[numbers], self.masks[numbers]
        for index in range(count):
            for axis in (0, 1):
                if rng.random() < 0.5:
                    pictures[index], masks[index] = np.flip(pictures[index], axis), np.flip(masks[index], axis)
        return pictures, marked_patches(masks)


def mask_pixels(sample: Sample, shape: Shape) -> npt.NDArray[np.uint8]:
    """1 where a labelled defect's mask touches a pixel of the resized picture [height, width]; 0 everywhere without a mask.

    Raises DataError for a mask that marks nothing.
    """
    if not sample.masks:
        return np.zeros(shape, dtype=np.uint8)
    whole = sample.mask()
    if not whole.any():
        raise DataError(f"mask {sample.masks[0]} marks nothing: draw where the defect is, or remove the mask")
    shares = Image.fromarray(whole.astype(np.float32)).resize(shape[::-1], Image.Resampling.BOX)
    return (np.asarray(shares) > 0).astype(np.uint8)


def marked_patches(masks: npt.NDArray[np.uint8]) -> Marks:
    """Masks [M, S, S] of 0 and 1 to their patches [M, patches]: 1 where the mask covers a tenth, or else most of all."""
    side = masks.shape[1] // PATCH
    patches = masks.reshape(len(masks), side, PATCH, side, PATCH)
    shares = patches.mean(axis=(2, 4), dtype=np.float32).reshape(len(masks), side**2)
    most = shares.max(axis=1, keepdims=True, initial=0)
    marks: Marks = ((shares >= np.minimum(most, LEAST_SHARE)) & (shares > 0)).astype(np.float32)
    return marks
