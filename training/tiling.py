"""Large pictures as overlapping square tiles (ours), so that a small defect keeps its pixels.

The networks see one tile at a time. Tiles overlap by whole patches, so that their patch grids lie exactly on the grid of the
whole picture, and are blended there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from service.model_format import MAP_SIZE, PATCH, Tiles

from .errors import TrainingError

OVERLAP = 1 / 8  # of a tile's side
BATCH = 16  # pictures, or tiles, that are scored at once


def parse_tiles(text: str, size: int) -> Tiles:
    """The tiles of side `size`, in pixels, that "ROWSxCOLUMNS" asks for; raises TrainingError for anything else."""
    numbers = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text.lower())
    if numbers is None or numbers.groups() == ("1", "1"):
        raise TrainingError(f"--tiles is '{text}': give ROWSxCOLUMNS, for example 3x4")
    overlap = PATCH * max(1, round(OVERLAP * size / PATCH))
    if overlap >= size:
        raise TrainingError(f"--tiles needs tiles of two patches at least: set --input-size to {2 * PATCH} or more")
    return Tiles(rows=int(numbers[1]), columns=int(numbers[2]), overlap=overlap)


def stitched_grid(grid: int, tiles: Tiles) -> tuple[int, int]:
    """Rows and columns of the patches of a whole picture whose tiles have `grid` x `grid`.

    Raises TrainingError for more than the map has pixels.
    """
    rows, columns = (grid + (count - 1) * (grid - tiles.overlap // PATCH) for count in (tiles.rows, tiles.columns))
    if max(rows, columns) > MAP_SIZE:
        raise TrainingError(
            f"{tiles.rows}x{tiles.columns} tiles make a grid of {rows} x {columns} patches, and the map has {MAP_SIZE} x "
            f"{MAP_SIZE} pixels: ask for fewer --tiles, or a smaller --input-size"
        )
    return rows, columns


def pictures_at_once(tiles: Tiles | None) -> int:
    """How many pictures are scored together: those of many tiles one by one."""
    return BATCH if tiles is None else max(1, BATCH // tiles.count)


def cut(pictures: Tensor, size: int, tiles: Tiles) -> Tensor:
    """Pictures [N, H, W, 3] to their tiles [N * count, size, size, 3], each picture's row by row."""
    places = _places(size, tiles)
    parts = [pictures[:, top : top + size, left : left + size] for top, left in places]
    return torch.stack(parts, dim=1).flatten(0, 1)


class StoredTiles:
    """The tiles of stored pictures uint8 [M, H, W, 3], each read from them only when it is asked for by its number.

    Tile t of picture p has the number p * count + t. Without `tiles` every picture is its own one tile.
    """

    def __init__(self, pictures: npt.NDArray[np.uint8], size: int, tiles: Tiles | None) -> None:
        self._pictures, self._size = pictures, size
        self._places = None if tiles is None else _places(size, tiles)
        self.of_each = 1 if tiles is None else tiles.count

    def __len__(self) -> int:
        return len(self._pictures) * self.of_each

    def __getitem__(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Tiles uint8 [len(numbers), S, S, 3]."""
        if self._places is None:
            return np.array(self._pictures[numbers])
        return np.stack([self._tile(*divmod(int(number), self.of_each), self._places) for number in numbers])

    def _tile(self, picture: int, tile: int, places: list[tuple[int, int]]) -> npt.NDArray[np.uint8]:
        top, left = places[tile]
        part: npt.NDArray[np.uint8] = self._pictures[picture, top : top + self._size, left : left + self._size]
        return part


class Stitch(nn.Module):
    """Patch grids of tiles [N * count, g, g] to the grid of the whole picture [N, rows, columns].

    Where tiles overlap, each fades out linearly towards its edge, and their weights sum to 1.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, grid: int, tiles: Tiles) -> None:
        super().__init__()
        self.tiles = tiles
        overlap = tiles.overlap // PATCH
        self.register_buffer("rows", _blending(tiles.rows, grid, overlap))
        self.register_buffer("columns", _blending(tiles.columns, grid, overlap))

    def forward(self, grids: Tensor) -> Tensor:
        laid_out = torch.unflatten(grids, 0, (-1, self.tiles.rows, self.tiles.columns)).transpose(2, 3)
        return self.rows @ laid_out.flatten(3, 4).flatten(1, 2) @ self.columns.T


def _places(size: int, tiles: Tiles) -> list[tuple[int, int]]:
    """(top, left) of each tile in pixels."""
    step = size - tiles.overlap
    return [(row * step, column * step) for row in range(tiles.rows) for column in range(tiles.columns)]


def _blending(count: int, grid: int, overlap: int) -> Tensor:
    """Weights [stitched, count * grid] of every tile's positions along one axis at every stitched position."""
    step, position = grid - overlap, torch.arange(grid)
    tent = torch.minimum(position + 1, grid - position).clamp(max=overlap + 1).float()
    weights = torch.zeros(grid + (count - 1) * step, count, grid)
    for tile in range(count):
        weights[tile * step + position, tile, position] = tent
    return weights.flatten(1) / weights.sum((1, 2))[:, None]
