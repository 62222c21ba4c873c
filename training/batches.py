"""What each step of the training is shown: good pictures in turns of their classes, and spoilt copies of some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .fit_settings import FitSettings
from .labelled_defects import LabelledDefects, marked_patches
from .spoiling import spoil
from .tiling import StoredTiles


class Batch(NamedTuple):
    """Good pictures of one step, uint8 [N, S, S, 3], spoilt copies [K, S, S, 3] of the last K of them, and labelled defects.

    Of those, [M, S, S, 3], `marked` [M, patches] is 1 at the defective patches, and 0 everywhere if nobody knows them.
    """

    pictures: Tensor
    spoilt: Tensor
    defects: Tensor
    marked: Tensor


def part(batch: Batch, number: int, parts: int) -> Batch:
    """Every `parts`-th picture and defect from `number` on, with its spoilt copy if it has one."""
    unspoilt = len(batch.pictures) - len(batch.spoilt)
    first_spoilt = max(0, -(-(unspoilt - number) // parts))  # how many of this part's pictures come before
    spoilt = batch.spoilt[number + first_spoilt * parts - unspoilt :: parts]
    # from behind, so that the part with the fewest pictures is the one with the most defects
    defects, marked = batch.defects[parts - 1 - number :: parts], batch.marked[parts - 1 - number :: parts]
    return Batch(batch.pictures[number::parts], spoilt, defects, marked)


class Batches(Dataset[Batch]):
    """Item i is the whole batch of step i, a pure function of (seed, i), so that a resumed run sees what an unbroken one would.

    Classes take turns, so that a generalist model does not neglect the rarer ones (ours); without `class_turns` all are one.
    Each goes through its pictures in a new order every time. `class_counts` are the numbers of pictures of each class, in the
    order that `pictures` has them. Of pictures that are cut, each tile is shown as a picture by itself.
    """

    def __init__(
        self,
        pictures: npt.NDArray[np.uint8],
        class_counts: Sequence[int],
        settings: FitSettings,
        defects: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None = None,
    ) -> None:
        self.settings = settings
        self.defects = None if defects is None else LabelledDefects(*defects, settings)
        self.pictures = StoredTiles(pictures, settings.input_size, settings.tiles)
        turns = class_counts if settings.class_turns else [sum(class_counts)]
        self.counts = [count * self.pictures.of_each for count in turns]
        self.starts: list[int] = [0, *np.cumsum(self.counts).tolist()]

    def __getitem__(self, step: int) -> Batch:
        count = self.settings.batch_size
        rng = np.random.default_rng([self.settings.seed, step])
        turns = step * count + rng.permutation(count)  # or classes would always be spoilt, or never
        pictures = self.pictures[[self._index(int(turn)) for turn in turns]]
        spoilt = spoil(pictures[count - round(self.settings.spoilt_share * count) :], pictures, rng)
        nothing = pictures[:0], marked_patches(pictures[:0, :, :, 0])
        defects, marked = self.defects.draw(rng) if self.defects else nothing
        return Batch(*map(torch.from_numpy, (pictures, spoilt, defects, marked)))

    def _index(self, turn: int) -> int:
        turn, chosen = divmod(turn, len(self.counts))
        epoch, place = divmod(turn, self.counts[chosen])
        return self.starts[chosen] + int(_order(self.settings.seed, chosen, epoch, self.counts[chosen])[place])


@lru_cache(maxsize=256)
def _order(seed: int, chosen: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Order of a class's pictures in one epoch."""
    return np.random.default_rng([seed, chosen, epoch]).permutation(count)
