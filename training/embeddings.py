"""What a ViT begins with: pixels to patch embeddings, and these, with the class token and the registers, to tokens."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Dinov2Model, Dinov2WithRegistersModel

Vit = Dinov2Model | Dinov2WithRegistersModel
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIDDLE_GREY = 128.0


class PatchEmbedding(nn.Module):
    """A ViT's patch embedding of raw pixels: DINOv2's normalisation by ImageNet's mean and deviation, and the convolution whose
    steps are as long as its kernel is wide, as one linear layer of all patches.

    The numbers are the same, up to rounding. No float is computed of a picture before its patches are cut, and ONNX Runtime on
    CUDA plans a convolution anew wherever a batch has another size than the last one (onnxruntime#23006).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, projection: nn.Conv2d) -> None:
        super().__init__()
        self.projection = projection
        scale, mean = 1 / (255 * torch.tensor(IMAGENET_STD)), 255 * torch.tensor(IMAGENET_MEAN)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", (MIDDLE_GREY - mean) * scale, persistent=False)  # what middle grey is after normalisation

    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB pixels [N, S, S, 3] -> [N, patches, d], row by row."""
        side = self.projection.kernel_size[0]
        cut = torch.unflatten(torch.unflatten(images, 2, (-1, side)), 1, (-1, side))  # [N, rows, side, columns, side, 3]
        patches = cut.transpose(2, 3).flatten(3).flatten(1, 2)
        kernel = self.projection.weight.permute(0, 2, 3, 1)
        bias = cast(Tensor, self.projection.bias) + (kernel * self.shift).sum((1, 2, 3))
        # around 0, as half precision rounds the less the smaller a number is; whole numbers up to 128 it holds exactly
        return F.linear(patches.float() - MIDDLE_GREY, (kernel * self.scale).flatten(1), bias)


class Embeddings(nn.Module):
    """The tokens that a ViT's first block gets. Its weights have the names that the ViT's own have.

    Position embeddings are of the input's patch grid, so that nothing is interpolated when it runs.
    """

    def __init__(self, vit: Vit, position: nn.Parameter) -> None:
        """For the ViT's weights, with position embeddings [1, 1 + patches, d] in place of its own."""
        super().__init__()
        self.patch_embeddings = PatchEmbedding(vit.embeddings.patch_embeddings.projection)
        self.cls_token = vit.embeddings.cls_token
        self.position_embeddings = position
        self.register_tokens = vit.embeddings.register_tokens if isinstance(vit, Dinov2WithRegistersModel) else None

    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB pixels [N, S, S, 3] -> [N, 1 + registers + patches, d]: class token, registers, patches row by row."""
        count = images.shape[0]
        patches = self.patch_embeddings(images) + self.position_embeddings[:, 1:]
        first = [self.cls_token + self.position_embeddings[:, :1]]  # registers have no position
        if self.register_tokens is not None:
            first.append(self.register_tokens)
        return torch.cat((torch.cat(first, dim=1).expand(count, -1, -1), patches), dim=1)
