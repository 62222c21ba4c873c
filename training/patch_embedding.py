"""A ViT's patch embedding without a convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """The convolution whose steps are as long as its kernel is wide, as what it is: one linear layer of all patches.

    The numbers are the same, up to rounding. ONNX Runtime on CUDA plans a convolution anew wherever a batch has another size
    than the last one (onnxruntime#23006).
    """

    def __init__(self, projection: nn.Conv2d) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, patches, d], row by row."""
        side = self.projection.kernel_size[0]
        cut = torch.unflatten(torch.unflatten(images, 3, (-1, side)), 2, (-1, side))  # [N, 3, rows, side, columns, side]
        patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return F.linear(patches, self.projection.weight.flatten(1), self.projection.bias)
