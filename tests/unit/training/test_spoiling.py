"""Spoilt copies: visible, local, and a function of the generator alone."""

from __future__ import annotations

import numpy as np
import pytest

from training.spoiling import SHAPES, spoil

PICTURES = np.random.default_rng(0).integers(60, 190, (8, 56, 56, 3), dtype=np.uint8)


def test_a_spoilt_copy_differs_in_places() -> None:
    before = PICTURES.copy()
    spoilt = np.concatenate([spoil(PICTURES, PICTURES, np.random.default_rng(seed)) for seed in range(10)])
    assert np.array_equal(PICTURES, before)
    assert spoilt.dtype == np.uint8
    changed = (np.abs(spoilt.astype(int) - np.tile(before, (10, 1, 1, 1))) > 5).any(-1).mean((1, 2))
    assert np.median(changed) < 0.25
    assert changed.max() < 0.7
    assert (changed > 0).mean() > 0.95


def test_some_copies_lose_a_thing_as_if_it_had_never_been_there() -> None:
    y, x = np.mgrid[:112, :112]
    plate = np.full((112, 112, 3), 140, dtype=np.uint8)
    drilled = np.where((np.hypot(y - 40, x - 70) < 5)[..., None], np.uint8(30), plate)
    copies = spoil(np.stack([drilled] * 60), plate[None], np.random.default_rng(0))
    undrilled = [bool((np.abs(copy.astype(int) - plate).max(axis=-1) < 12).all()) for copy in copies]
    assert 0.1 < np.mean(undrilled) < 0.6


def test_the_same_generator_spoils_alike() -> None:
    first, second, other = (spoil(PICTURES, PICTURES, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_nothing_to_spoil_is_no_error() -> None:
    assert spoil(PICTURES[:0], PICTURES, np.random.default_rng(0)).shape == (0, 56, 56, 3)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("size", [14, 112, 392])
def test_shapes_cover_a_part_of_the_picture_at_any_size(shape: object, size: int) -> None:
    assert callable(shape)
    covers = [shape(size, np.random.default_rng(seed)) for seed in range(40)]
    assert all(cover.shape == (size, size) and cover.min() >= 0 and cover.max() <= 1 for cover in covers)
    means = np.array([cover.mean() for cover in covers])
    assert 0.002 < np.median(means) < 0.2
    assert (means > 0).mean() > 0.9
