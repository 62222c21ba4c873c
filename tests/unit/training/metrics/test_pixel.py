from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from training.metrics import aupro, pixel_auroc, pixel_average_precision, pixel_curve, pixel_f1_max, spro

Metric = Callable[..., float]


SHAPE = (2, 4, 4)
masks_of_two = arrays(np.bool_, SHAPE).filter(lambda mask: bool(mask.any() and not mask.all()))
maps_of_two = arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))


def regions_by_flood_fill(mask: npt.NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front.extend(near)
        regions.append(region)
    return regions


def aupro_by_definition(maps: npt.NDArray[Any], masks: npt.NDArray[np.bool_], limit: float) -> float:
    """Walk over all thresholds, count every pixel of every region anew, and add up trapezia up to the limit."""
    regions = [(n, region) for n, mask in enumerate(masks) for region in regions_by_flood_fill(mask)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        found = maps >= threshold
        fpr = float((found & ~masks).sum() / (~masks).sum())
        points.append((fpr, float(np.mean([np.mean([found[n, y, x] for y, x in region]) for n, region in regions]))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@given(maps_of_two, masks_of_two, st.sampled_from([0.05, 0.3, 0.5, 1.0]))
def test_aupro_equals_its_definition(maps: npt.NDArray[Any], masks: npt.NDArray[np.bool_], limit: float) -> None:
    assert aupro(maps, masks, limit) == pytest.approx(aupro_by_definition(maps, masks, limit), abs=1e-9)


@given(maps_of_two, masks_of_two)
def test_pixel_auroc_pools_all_pixels(maps: npt.NDArray[Any], masks: npt.NDArray[np.bool_]) -> None:
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))


@given(maps_of_two, masks_of_two)
def test_pixel_average_precision_is_scikit_learns(maps: npt.NDArray[Any], masks: npt.NDArray[np.bool_]) -> None:
    assert pixel_average_precision(maps, masks) == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()))


@given(maps_of_two, masks_of_two)
def test_pixel_f1_max_is_the_best_of_all_thresholds(maps: npt.NDArray[Any], masks: npt.NDArray[np.bool_]) -> None:
    best = max(f1_score(masks.ravel(), (maps >= threshold).ravel()) for threshold in np.unique(maps))
    assert pixel_f1_max(maps, masks) == pytest.approx(best)


@given(maps_of_two, masks_of_two)
def test_only_the_order_of_values_counts(maps: npt.NDArray[Any], masks: npt.NDArray[np.bool_]) -> None:
    assume(np.ptp(maps) > 0)
    assert aupro(maps * 7 - 3, masks) == pytest.approx(aupro(maps, masks))


def test_a_map_equal_to_its_mask_is_perfect() -> None:
    masks = np.zeros((1, 5, 5), dtype=bool)
    masks[0, 1, 1:4] = True
    assert aupro(masks.astype(np.float32), masks) == pytest.approx(1.0)
    assert pixel_auroc(masks.astype(np.float32), masks) == 1.0


def test_every_region_weighs_the_same_whatever_its_size() -> None:
    # 9 defective pixels found before any good one, the single one never below the limit: half of the mean overlap
    masks = np.zeros((1, 10, 10), dtype=bool)
    masks[0, :3, :3] = True
    masks[0, 9, 9] = True
    maps = np.where(masks, 1.0, 0.5)
    maps[0, 9, 9] = 0.0
    # beyond FPR 0 the overlap stays at 1/2 up to FPR 1, since all good pixels share one value
    assert aupro(maps, masks) == pytest.approx(0.5)


def test_the_curve_is_interpolated_at_the_limit() -> None:
    # a constant map has the points (0, 0) and (1, 1) alone: up to 0.3 its area is 0.3 * 0.3 / 2
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, 0, 0] = True
    assert aupro(np.full((1, 4, 4), 2.0), masks) == pytest.approx(0.15)
    assert aupro(np.full((1, 4, 4), 2.0), masks, fpr_limit=1.0) == pytest.approx(0.5)


def test_diagonal_neighbours_are_one_region() -> None:
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 3, 3] = True
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 0] = maps[0, 1, 1] = 1.0
    # two regions, the diagonal pair found, the other only with everything: overlap 1/2 at FPR 0 and 1 at FPR 1
    assert aupro(maps, masks, fpr_limit=1.0) == pytest.approx((0.5 + 1.0) / 2)


def test_unsigned_maps_are_ranked_as_floats_are() -> None:
    masks = np.zeros((1, 2, 2), dtype=np.uint8)
    masks[0, 0, 0] = 1
    maps = np.array([[[255, 0], [1, 2]]], dtype=np.uint8)
    assert aupro(maps, masks) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_average_precision, pixel_f1_max, aupro])
def test_unusable_input_is_refused(metric: Metric) -> None:
    maps, masks = np.zeros((1, 2, 2)), np.eye(2)[None]
    with pytest.raises(ValueError, match="3-dimensional"):
        metric(maps[0], masks[0])
    with pytest.raises(ValueError, match=r"\(1, 2, 2\) and \(1, 2, 1\)"):
        metric(maps, masks[:, :, :1])
    with pytest.raises(ValueError, match="all 4 pixels are good"):
        metric(maps, np.zeros_like(masks))
    with pytest.raises(ValueError, match="not finite"):
        metric(maps * np.nan, masks)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, float("nan")])
def test_a_limit_outside_its_range_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="fpr_limit"):
        aupro(np.zeros((1, 2, 2)), np.eye(2)[None], limit)


def spro_by_definition(
    maps: npt.NDArray[Any], stacks: npt.NDArray[np.bool_], saturations: list[list[float]], limit: float
) -> float:
    """Every distinct value is a threshold; hits of each defect counted anew, cut off at its saturation."""
    union = stacks.any(axis=1)
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        found = maps >= threshold
        shares = [
            min((found[n] & mask).sum() / saturation, 1.0)
            for n, stack in enumerate(stacks)
            for mask, saturation in zip(stack, saturations[n], strict=True)
        ]
        points.append((float((found & ~union).sum() / (~union).sum()), float(np.mean(shares))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            area += (end - x0) * (y0 + (y0 + (y1 - y0) * (end - x0) / (x1 - x0))) / 2
    return area / limit


# two pictures with two defects each, which may overlap; none empty, some pixel good
stacks_of_two = arrays(np.bool_, (2, 2, 4, 4)).filter(
    lambda stacks: bool(stacks.any(axis=(2, 3)).all() and not stacks.any(axis=1).all())
)


@given(maps_of_two, stacks_of_two, st.floats(0.05, 1.0), st.sampled_from([0.05, 0.3, 1.0]))
def test_spro_equals_its_definition(maps: npt.NDArray[Any], stacks: npt.NDArray[np.bool_], share: float, limit: float) -> None:
    saturations = [[float(share * mask.sum()) for mask in stack] for stack in stacks]
    expected = spro_by_definition(maps, stacks, saturations, limit)
    assert spro(list(maps), list(stacks), saturations, limit) == pytest.approx(expected, abs=1e-9)


def test_a_saturated_defect_is_wholly_found_by_part_of_it() -> None:
    stack = np.zeros((1, 4, 4), dtype=bool)
    stack[0, :2] = True
    values = np.zeros((4, 4))
    values[0, :2] = 1.0  # two of its eight pixels, before any good one
    assert spro([values], [stack], [[2.0]]) == pytest.approx(1.0)
    assert spro([values], [stack], [[4.0]], fpr_limit=1.0) == pytest.approx(0.75)
    assert spro([values], [stack], [[99.0]], fpr_limit=1.0) == aupro([values], stack, fpr_limit=1.0)  # never more than it has


def test_spro_takes_pictures_of_different_sizes_and_numbers_of_defects() -> None:
    good, one = np.zeros((0, 3, 5), dtype=bool), np.zeros((1, 4, 4), dtype=bool)
    one[0, 0, 0] = True
    maps = [np.zeros((3, 5)), one[0].astype(float)]
    assert spro(maps, [good, one], [[], [1.0]]) == pytest.approx(1.0)


@pytest.mark.parametrize("saturation", [0.0, -1.0, float("nan")])
def test_a_saturation_that_no_defect_of_that_size_can_have_is_refused(saturation: float) -> None:
    stack = np.zeros((1, 2, 2), dtype=bool)
    stack[0, 0] = True
    with pytest.raises(ValueError, match="2 pixels cannot saturate"):
        spro([np.zeros((2, 2))], [stack], [[saturation]])


def test_a_memory_mapped_stack_of_maps_gives_the_same_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((5, 32, 32)).astype(np.float32), rng.random((5, 32, 32)) > 0.95
    np.save(tmp_path / "maps.npy", maps)
    mapped = np.load(tmp_path / "maps.npy", mmap_mode="r")
    curve = pixel_curve(list(mapped), list(masks))
    assert curve.auroc() == pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert curve.overlap_area(0.05) == aupro(maps, masks, 0.05)
