"""Cutting and stitching: what comes back is what went in, whatever the tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from service.model_format import PATCH, Tiles, input_shape
from training.errors import TrainingError
from training.tiling import Stitch, StoredTiles, cut, parse_tiles, pictures_at_once, stitched_grid


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, Tiles]:
    """Patches a side of a tile, and tiles that share less than that."""
    grid = draw(st.integers(1, 7))
    rows, columns = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)).filter(lambda pair: pair != (1, 1)))
    return grid, Tiles(rows=rows, columns=columns, overlap=PATCH * draw(st.integers(0, grid - 1)))


def field(grid: int, tiles: Tiles, seed: int) -> torch.Tensor:
    """Random values [2, rows, columns] on the grid of two whole pictures."""
    return torch.rand(2, *stitched_grid(grid, tiles), generator=torch.Generator().manual_seed(seed))


@given(cuts(), st.integers(0, 99))
def test_stitching_what_was_cut_gives_it_back(how: tuple[int, Tiles], seed: int) -> None:
    """Each patch painted with the value of a known field: tiles cut from the picture bring it to the right place."""
    grid, tiles = how
    expected = field(grid, tiles, seed)
    pictures = expected.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)[..., None].expand(-1, -1, -1, 3)
    assert pictures.shape[1:3] == input_shape(grid * PATCH, tiles)
    parts = cut(pictures, grid * PATCH, tiles)
    assert parts.shape == (2 * tiles.count, grid * PATCH, grid * PATCH, 3)
    torch.testing.assert_close(Stitch(grid, tiles)(parts[:, ::PATCH, ::PATCH, 0]), expected)


@given(cuts())
def test_weights_are_a_partition_of_unity_that_covers_everything(how: tuple[int, Tiles]) -> None:
    grid, tiles = how
    stitch = Stitch(grid, tiles)
    assert (len(stitch.rows), len(stitch.columns)) == stitched_grid(grid, tiles)
    for weights in (stitch.rows, stitch.columns):
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
        assert (weights.amax(0) > 0).all()  # no position of any tile is left out


def test_tiles_fade_into_each_other_linearly() -> None:
    tiles = Tiles(rows=1, columns=2, overlap=3 * PATCH)
    left, right = torch.ones(1, 5, 5), torch.zeros(1, 5, 5)
    (line,) = Stitch(5, tiles)(torch.cat((left, right)))[:, 0]
    torch.testing.assert_close(line, torch.tensor([1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]))


def test_a_tile_of_a_stored_picture_is_the_one_that_the_graph_cuts(tmp_path: Path) -> None:
    tiles = Tiles(rows=2, columns=3, overlap=14)
    pictures = np.random.default_rng(0).integers(0, 256, (4, *input_shape(42, tiles), 3), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    stored = StoredTiles(np.load(tmp_path / "pictures.npy", mmap_mode="r"), 42, tiles)
    assert (len(stored), stored.of_each) == (24, 6)
    assert_array_equal(stored[range(24)], cut(torch.from_numpy(pictures), 42, tiles).numpy())
    assert_array_equal(stored[[23, 0]], stored[range(24)][[23, 0]])
    whole = StoredTiles(pictures, 42, None)
    assert (len(whole), whole.of_each) == (4, 1)
    assert_array_equal(whole[[3, 1]], pictures[[3, 1]])


@pytest.mark.parametrize(("size", "overlap"), [(28, 14), (56, 14), (112, 14), (224, 28), (392, 56), (518, 70)])
def test_an_eighth_of_a_tile_is_shared_in_whole_patches(size: int, overlap: int) -> None:
    assert parse_tiles("4x5", size) == Tiles(rows=4, columns=5, overlap=overlap)
    assert parse_tiles("1X2", size) == Tiles(rows=1, columns=2, overlap=overlap)


@pytest.mark.parametrize("text", ["", "4", "4y5", "4x", "x5", "0x5", "4x-5", "4x5x6", "1x1", "4.5x2", " 4x5", "4x5000"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(TrainingError, match=rf"^--tiles is '{text}': give ROWSxCOLUMNS, for example 3x4$"):
        parse_tiles(text, 224)


def test_a_tile_of_one_patch_cannot_share_one() -> None:
    with pytest.raises(TrainingError, match="tiles of two patches at least: set --input-size to 28 or more"):
        parse_tiles("2x2", 14)


def test_more_patches_than_the_map_has_pixels_are_refused() -> None:
    tiles = Tiles(rows=2, columns=18, overlap=28)
    assert stitched_grid(16, tiles) == (30, 254)
    with pytest.raises(TrainingError, match=r"2x19 tiles make a grid of 30 x 268 patches, and the map has 256 x 256 pixels"):
        stitched_grid(16, tiles.model_copy(update={"columns": 19}))


def test_as_many_pictures_are_scored_at_once_as_their_tiles_allow() -> None:
    assert [pictures_at_once(Tiles(rows=1, columns=n, overlap=0)) for n in (2, 5, 16, 40)] == [8, 3, 1, 1]
    assert pictures_at_once(None) == 16
