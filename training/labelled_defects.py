"""Labelled defects that training is shown beside good pictures (ours)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.model_format import PATCH

from .run_folder import FitSettings
from .tiling import StoredTiles

LEAST_SHARE = 0.1  # of a patch, from which a mask marks it
Pictures = npt.NDArray[np.uint8]
Marks = npt.NDArray[np.float32]


class LabelledDefects:
    """Pictures uint8 [K, H, W, 3] and masks bool [K, H, W]; of pictures that are cut, the tiles that show a defect."""

    def __init__(self, pictures: Pictures, masks: npt.NDArray[np.bool_], settings: FitSettings) -> None:
        self.settings = settings
        self.pictures = StoredTiles(pictures, settings.input_size, settings.tiles)
        self.masks = StoredTiles(masks.view(np.uint8), settings.input_size, settings.tiles)
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


def marked_patches(masks: npt.NDArray[np.uint8]) -> Marks:
    """Masks [M, S, S] of 0 and 1 to their patches [M, patches]: 1 where the mask covers a tenth, or else most of all."""
    side = masks.shape[1] // PATCH
    shares = (
        masks.reshape(len(masks), side, PATCH, side, PATCH).mean(axis=(2, 4), dtype=np.float32).reshape(len(masks), side**2)
    )
    most = shares.max(axis=1, keepdims=True, initial=0)
    marks: Marks = ((shares >= np.minimum(most, LEAST_SHARE)) & (shares > 0)).astype(np.float32)
    return marks
