"""The compact ViT with the heads that it is taught through."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from .source import PATCH, SourceNetwork

COMPACT = Dinov2WithRegistersConfig.from_dict(
    {
        "hidden_size": 192,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "image_size": 224,
        "patch_size": PATCH,
        "num_register_tokens": 4,
        "stand_in": True,  # read by training/teacher.py
    }
)
# Source maps taught to the patch tokens after each of these blocks (0-based), as strides of the source network. The students
# later learn from blocks 2-9: fine texture has to be there by the middle, meaning by the end.
TAUGHT_STRIDES = {5: (4, 8), 9: (8, 16), 11: (16, 32)}


class CompactPretrainer(nn.Module):
    """The compact ViT with the linear heads that its tokens are taught through."""

    def __init__(self, source: SourceNetwork) -> None:
        super().__init__()
        self.vit = Dinov2WithRegistersModel(COMPACT)
        self.vit.set_attn_implementation("eager")  # torch's fused attention is slow backwards on so few tokens on a CPU
        with torch.no_grad():
            maps, pooled = source(torch.zeros(1, 3, 112, 112))
        self.heads = nn.ModuleDict(
            {
                f"{block}_{stride}": nn.Sequential(
                    nn.LayerNorm(COMPACT.hidden_size), nn.Linear(COMPACT.hidden_size, maps[stride].shape[-1])
                )
                for block, strides in TAUGHT_STRIDES.items()
                for stride in strides
            }
        )
        self.class_head = nn.Sequential(nn.LayerNorm(COMPACT.hidden_size), nn.Linear(COMPACT.hidden_size, pooled.shape[-1]))
        self.standardisers = nn.ModuleDict({str(s): Standardiser(m.shape[-1]) for s, m in maps.items()})
        self.standardisers["pooled"] = Standardiser(pooled.shape[-1])

    def forward(self, images: Tensor, maps: dict[int, Tensor], pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error of the patch tokens (mean over taught maps) and of the class token, on standardised targets."""
        hidden = self.vit.embeddings(images)
        patch_errors = []
        for index, layer in enumerate(self.vit.encoder.layer):
            hidden = layer(hidden)
            for stride in TAUGHT_STRIDES.get(index, ()):
                predicted = self.heads[f"{index}_{stride}"](hidden[:, 1 + COMPACT.num_register_tokens :]).float()
                patch_errors.append(F.mse_loss(predicted, self.standardisers[str(stride)](maps[stride])))
        class_error = F.mse_loss(self.class_head(hidden[:, 0]).float(), self.standardisers["pooled"](pooled))
        return torch.stack(patch_errors).mean(), class_error


class Standardiser(nn.Module):
    """Per-channel standardisation whose statistics are measured once, before training."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def measure(self, features: Tensor) -> None:
        """Take mean and deviation from features [..., channels]."""
        flat = features.flatten(0, -2)
        self.mean.copy_(flat.mean(0))
        self.std.copy_(flat.std(0).clamp_min(1e-3))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std
