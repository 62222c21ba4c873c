"""What all pixel metrics are computed from: counts at every threshold at which a defective pixel is found.

Exact, in memory that grows with the defective pixels alone: between two of their values nothing changes but the number of good
pixels, and those are counted map by map. The cost is one sort of each map: O(P log P) for P pixels. `maps` and `masks` may be
memory-mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label, value_indices

EIGHT_CONNECTED = np.ones((3, 3), dtype=np.int64)

Mask = npt.NDArray[np.bool_]  # [H, W]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stack(Sized, Iterable[T_co], Protocol[T_co]):
    """Maps or masks of N pictures, gone through more than once; each may be read or computed only when its turn comes."""


class Computed(Generic[T]):
    """Items computed when their turn comes, each time anew."""

    def __init__(self, count: int, item: Callable[[int], T]) -> None:
        self._count, self._item = count, item

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return map(self._item, range(self._count))


@dataclass(frozen=True)
class Region:
    """A defect's pixels, as indices into the flattened map, and the number of them at which it counts as wholly found."""

    pixels: npt.NDArray[np.intp]
    saturation: float


@dataclass(frozen=True)
class PixelCurve:
    """Counts of pixels at or above each distinct value of a defective pixel, from the highest value down, [K] each."""

    defective: npt.NDArray[np.int64]
    good: npt.NDArray[np.int64]
    good_above: npt.NDArray[np.int64]  # strictly
    overlap: npt.NDArray[np.float64]  # mean over regions of min(found pixels / saturation, 1)
    good_total: int

    def auroc(self) -> float:
        """Area under the ROC curve, in [0, 1]: the share of pairs in order, ties counting half."""
        gained = np.diff(self.defective, prepend=0)
        in_order = self.good_total - self.good + 0.5 * (self.good - self.good_above)
        return float(gained @ in_order / (self.defective[-1] * self.good_total))

    def average_precision(self) -> float:
        """Sum of the precision at each threshold times the recall gained there, in (0, 1]."""
        precision = self.defective / (self.defective + self.good)
        return float(np.diff(self.defective, prepend=0) @ precision / self.defective[-1])

    def f1_max(self) -> float:
        """Largest F1 over all thresholds, in (0, 1]."""
        return float((2 * self.defective / (self.defective[-1] + self.defective + self.good)).max())

    def overlap_area(self, fpr_limit: float) -> float:
        """Area under the overlap against the false positive rate up to `fpr_limit`, divided by it, in [0, 1].

        Interpolated at the limit. Raises ValueError for a limit outside (0, 1].
        """
        if not 0 < fpr_limit <= 1:
            raise ValueError(f"fpr_limit must be in (0, 1], not {fpr_limit}")
        # before each of these values only good pixels are gained: the overlap stays
        before = np.append(0.0, self.overlap)
        rates = np.column_stack((self.good_above, self.good)).ravel() / self.good_total
        fpr = np.concatenate(([0.0], rates, [1.0]))
        overlap = np.concatenate(([0.0], np.column_stack((before[:-1], self.overlap)).ravel(), before[-1:]))
        inside = int(np.searchsorted(fpr, fpr_limit, side="right"))
        if inside < len(fpr):
            at_limit = np.interp(fpr_limit, fpr[inside - 1 : inside + 1], overlap[inside - 1 : inside + 1])
            fpr, overlap = np.append(fpr[:inside], fpr_limit), np.append(overlap[:inside], at_limit)
        return float(np.trapezoid(overlap, fpr) / fpr_limit)


def components(mask: Mask) -> list[Region]:
    """The 8-connected components of a mask [H, W]; each counts as found when all of it is."""
    labelled, _ = label(mask, structure=EIGHT_CONNECTED)
    found = value_indices(labelled, ignore_value=0)
    return [
        Region(np.ravel_multi_index(indices, mask.shape), float(len(indices[0])))
        for indices in found.values()
    ]  # fmt: skip


def pixel_curve(
    maps: Stack[npt.NDArray[Any]], masks: Stack[Mask], regions: Iterable[Sequence[Region]] | None = None
) -> PixelCurve:
    """The curve of anomaly maps N x [H, W] for masks of the same shapes (True = defective), which may differ from map to map.

    `regions` are each picture's, its mask's components if None. Raises ValueError for maps that do not fit their masks or are
    not finite, and where all pixels are good or all are defective.
    """
    if len(maps) != len(masks):
        raise ValueError(f"{len(maps)} maps and {len(masks)} masks: each map needs one")
    defective_values, hits, hit_values, region_count, total = [], [], [], 0, 0
    for index, (values, mask, found) in enumerate(
        zip(maps, masks, regions if regions is not None else map(components, masks), strict=True)
    ):
        if values.shape != mask.shape or values.ndim != 2:
            raise ValueError(f"map {index} is {values.shape} and its mask {mask.shape}: both must be the same [H, W]")
        if not np.isfinite(values).all():
            raise ValueError(f"map {index}: {np.count_nonzero(~np.isfinite(values))} values are not finite")
        defective_values.append(values[mask])
        for region in found:
            falling = np.sort(values.ravel()[region.pixels])[::-1]
            hit_values.append(falling)
            hits.append(np.clip(region.saturation - np.arange(len(falling)), 0, 1) / region.saturation)
        region_count += len(found)
        total += mask.size
    defective_count = sum(map(len, defective_values))
    if not 0 < defective_count < total:
        kind = "defective" if defective_count else "good"
        raise ValueError(f"maps and masks: all {total} pixels are {kind}; both kinds are needed")
    thresholds, defective = np.unique(np.concatenate(defective_values), return_counts=True)
    gained = np.zeros(len(thresholds))
    np.add.at(gained, np.searchsorted(thresholds, np.concatenate(hit_values)), np.concatenate(hits))
    good_up_to, good_equal = _count_good(maps, masks, thresholds)
    good_above = np.cumsum(good_up_to[::-1])[:-1]
    return PixelCurve(
        defective=np.cumsum(defective[::-1]),
        good=good_above + good_equal[::-1],
        good_above=good_above,
        overlap=np.cumsum(gained[::-1]) / region_count,
        good_total=total - defective_count,
    )


def _count_good(
    maps: Iterable[npt.NDArray[Any]], masks: Iterable[Mask], thresholds: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Good pixels above the threshold before and up to each [K + 1], the last one above all; and those equal to each [K]."""
    up_to, equal = np.zeros(len(thresholds) + 1, dtype=np.int64), np.zeros(len(thresholds), dtype=np.int64)
    for values, mask in zip(maps, masks, strict=True):
        ordered = np.sort(values[~mask])  # in order the search stays in the cache
        places = np.searchsorted(thresholds, ordered)
        held, counts = np.unique(places, return_counts=True)
        up_to[held] += counts
        inside = places < len(thresholds)
        ties = places[inside][ordered[inside] == thresholds[places[inside]]]
        held, counts = np.unique(ties, return_counts=True)
        equal[held] += counts
    return up_to, equal
