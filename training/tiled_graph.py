"""The merged graph of a model that looks at a large picture tile by tile: it cuts, scores all tiles, and merges (ours)."""

from __future__ import annotations

import torch
from torch import Tensor

from service.model_format import MAP_SIZE, Tiles

from .class_levels import ClassLevels
from .graph import SMOOTHING_SIGMA, RawGraph, RawScores, smooth_upsampling
from .students import TOP_SHARE, DecoderStudent, EncoderStudent
from .teacher import Teacher
from .tiling import Stitch, cut, stitched_grid
from .whitening import Whitening


class TiledGraph(RawGraph):
    """uint8 RGB pixels [N, H, W, 3] to raw scores. All tiles of all pictures go through the networks at once.

    The map is smoothed as wide in patches as an untiled one, and the local score is the mean of as many patches as one tile's
    share: a defect counts the same on a part of any size. The semantic score is that of the tile that looks strangest.
    """

    tiles: Tiles
    upsample_columns: Tensor

    def __init__(
        self,
        teacher: Teacher,
        decoder: DecoderStudent | None,
        semantic: tuple[EncoderStudent, Whitening] | None,
        levels: ClassLevels | None,
        smoothing_reach: float,
        tiles: Tiles,
    ) -> None:
        """Raises TrainingError for more patches than the map has pixels."""
        super().__init__(teacher, decoder, semantic, levels, smoothing_reach)
        self.tiles = tiles
        self.stitch = Stitch(teacher.grid, tiles)
        rows, columns = stitched_grid(teacher.grid, tiles)
        self.upsample = smooth_upsampling(rows, SMOOTHING_SIGMA * teacher.grid / rows, smoothing_reach)
        across = smooth_upsampling(columns, SMOOTHING_SIGMA * teacher.grid / columns, smoothing_reach)
        self.register_buffer("upsample_columns", across)
        self.top = max(1, int(TOP_SHARE * MAP_SIZE**2 / tiles.count))

    def forward(self, image: Tensor) -> RawScores:
        images = cut(image, self.teacher.input_size, self.tiles)
        hidden = self.teacher(images)
        local = semantic = anomaly_map = None
        if self.decoder is not None:
            grid = self.stitch(self.patch_distances(self.decoder, hidden))
            anomaly_map = self.upsample @ grid @ self.upsample_columns.T
            local = anomaly_map.flatten(1).topk(self.top).values.mean(1)
        if self.encoder is not None and self.whitening is not None:
            of_tiles = self.whitening(self.encoder.targets(hidden), self.encoder(images))
            semantic = torch.unflatten(of_tiles, 0, (-1, self.tiles.count)).amax(1)
        return RawScores(local, semantic, anomaly_map)
