"""Official `dinov2_*_pretrain.pth` files read as `transformers` models: keys renamed, stacked projections split.

Key names: facebookresearch/dinov2, dinov2/models/vision_transformer.py and dinov2/layers.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2WithRegistersConfig

from .errors import TrainingError

HEAD_DIM = 64  # of every DINOv2, from S to g
RENAMED = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^register_tokens$", "embeddings.register_tokens"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w3\.", ".mlp.down_proj."),
)
STACKED = {
    ".attn.qkv.": (".attention.q_proj.", ".attention.k_proj.", ".attention.v_proj."),
    ".mlp.w12.": (".mlp.gate_proj.", ".mlp.up_proj."),
}


def read_official_checkpoint(path: Path) -> tuple[Dinov2Config | Dinov2WithRegistersConfig, dict[str, Tensor]]:
    """Configuration and state dict, by `transformers`' names, of an official checkpoint file.

    Keys that no rule knows keep their names, so that strict loading reports them. Raises TrainingError when it is no such file.
    """
    try:
        official: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise TrainingError(f"{path} is not a PyTorch checkpoint of plain tensors: {error}") from error
    missing = [
        key for key in ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight") if key not in official
    ]
    if missing:
        raise TrainingError(f"{path} is not an official DINOv2 backbone: it lacks {', '.join(missing)}")
    state: dict[str, Tensor] = {}
    for key, tensor in official.items():
        for name, part in _split(key, tensor):
            for pattern, replacement in RENAMED:
                name = re.sub(pattern, replacement, name)
            state[name] = part
    return _config(official), state


def _split(key: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    for stacked, parts in STACKED.items():
        if stacked in key:
            return [(key.replace(stacked, part), piece) for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True)]
    return [(key, tensor)]


def _config(official: dict[str, Tensor]) -> Dinov2Config | Dinov2WithRegistersConfig:
    dim = official["cls_token"].shape[-1]
    patch = official["patch_embed.proj.weight"].shape[-1]
    settings: dict[str, Any] = {
        "hidden_size": dim,
        "num_hidden_layers": 1 + max(int(key.split(".")[1]) for key in official if key.startswith("blocks.")),
        "num_attention_heads": max(1, dim // HEAD_DIM),
        "image_size": math.isqrt(official["pos_embed"].shape[1] - 1) * patch,
        "patch_size": patch,
        "use_swiglu_ffn": "blocks.0.mlp.w12.weight" in official,
    }
    if "register_tokens" in official:
        return Dinov2WithRegistersConfig(**settings, num_register_tokens=official["register_tokens"].shape[1])
    return Dinov2Config(**settings)
