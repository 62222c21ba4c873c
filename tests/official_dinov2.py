"""DINOv2 as its own repository defines it (github.com/facebookresearch/dinov2), written down a second time, to test against."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]

DIM, HEADS, DEPTH, NATIVE = 128, 2, 3, 4  # of the checkpoints made here; NATIVE patches a side


def official_normalise(images: Tensor) -> Tensor:
    """uint8 RGB pixels [N, S, S, 3] to what DINOv2 was trained with, [N, 3, S, S]: torchvision's ToTensor and Normalize."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((images.double() / 255 - mean) / std).permute(0, 3, 1, 2).float()


def random_pixels(count: int, side: int, seed: int = 0) -> Tensor:
    """uint8 [count, side, side, 3]."""
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def cubic(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.75."""
    a, t = -0.75, np.abs(t)
    near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def bicubic_matrix(side: int, grid: int, scale: float) -> npt.NDArray[np.float64]:
    """[grid, side]: each output is the cubic mean of the four nearest inputs (borders repeated) around its place."""
    matrix = np.zeros((grid, side))
    for row in range(grid):
        place = (row + 0.5) / scale - 0.5
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            matrix[row, min(max(tap, 0), side - 1)] += cubic(np.array(place - tap))
    return matrix


def official_plain_position(position: Tensor, grid: int) -> Tensor:
    """Official rule without registers: bicubic, no antialiasing, scale factor (grid + 0.1) / side."""
    side = math.isqrt(position.shape[1] - 1)
    if side == grid:
        return position
    matrix = bicubic_matrix(side, grid, (grid + 0.1) / side)
    patches = position[0, 1:].double().numpy().reshape(side, side, -1)
    resized = np.einsum("ai,bj,ijd->abd", matrix, matrix, patches).reshape(1, grid * grid, -1)
    return torch.cat((position[:, :1], torch.from_numpy(resized).to(position.dtype)), dim=1)


def official_register_position(position: Tensor, grid: int) -> Tensor:
    """Official rule with registers: bicubic, antialiased, explicit size."""
    side = math.isqrt(position.shape[1] - 1)
    if side == grid:
        return position
    patches = position[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(patches, size=(grid, grid), mode="bicubic", antialias=True)
    return torch.cat((position[:, :1], resized.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)), dim=1)


def official_weights(registers: int, swiglu: bool) -> Weights:
    """Random weights under the official names."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int, mean: float = 0.0, std: float = 0.06) -> Tensor:
        return mean + std * torch.randn(shape, generator=generator)

    weights = {
        "cls_token": normal(1, 1, DIM, std=0.5),
        "pos_embed": normal(1, 1 + NATIVE**2, DIM, std=0.5),
        "mask_token": normal(1, DIM),
        "patch_embed.proj.weight": normal(DIM, 3, 14, 14),
        "patch_embed.proj.bias": normal(DIM),
        "norm.weight": normal(DIM, mean=1.0, std=0.2),
        "norm.bias": normal(DIM),
    }
    if registers:
        weights["register_tokens"] = normal(1, registers, DIM, std=0.5)
    inner = 344 if swiglu else 4 * DIM  # 2/3 of four times the width, rounded up to a multiple of 8
    layers = {"w12": (2 * inner, DIM), "w3": (DIM, inner)} if swiglu else {"fc1": (inner, DIM), "fc2": (DIM, inner)}
    for block in range(DEPTH):
        for name, (rows, columns) in {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM)}.items():
            weights[f"blocks.{block}.{name}.weight"] = normal(rows, columns)
            weights[f"blocks.{block}.{name}.bias"] = normal(rows, std=0.2)
        for name, (rows, columns) in layers.items():
            weights[f"blocks.{block}.mlp.{name}.weight"] = normal(rows, columns)
            weights[f"blocks.{block}.mlp.{name}.bias"] = normal(rows, std=0.2)
        for index in (1, 2):
            weights[f"blocks.{block}.norm{index}.weight"] = normal(DIM, mean=1.0, std=0.2)
            weights[f"blocks.{block}.norm{index}.bias"] = normal(DIM, std=0.2)
            weights[f"blocks.{block}.ls{index}.gamma"] = normal(DIM, mean=0.8, std=0.2)
    return weights


def official_blocks(weights: Weights, images: Tensor) -> list[Tensor]:
    """The official forward pass, from its definition; the hidden state after each block, before the final norm."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-6) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(x: Tensor, name: str) -> Tensor:
        queries, keys, values = linear(x, f"{name}.qkv").chunk(3, dim=-1)
        heads = []
        for head in range(HEADS):
            q, k, v = (part[..., 64 * head : 64 * (head + 1)] for part in (queries, keys, values))
            heads.append((q @ k.transpose(1, 2) / 8).softmax(-1) @ v)
        return linear(torch.cat(heads, dim=-1), f"{name}.proj")

    def mlp(x: Tensor, name: str) -> Tensor:
        if f"{name}.w12.weight" in weights:
            gate, value = linear(x, f"{name}.w12").chunk(2, dim=-1)
            return linear(gate * torch.sigmoid(gate) * value, f"{name}.w3")
        inner = linear(x, f"{name}.fc1")
        return linear(inner * (1 + torch.erf(inner / math.sqrt(2))) / 2, f"{name}.fc2")

    count, grid = images.shape[0], images.shape[-1] // 14
    patches = images.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).reshape(count, grid * grid, -1)
    embedded = patches @ weights["patch_embed.proj.weight"].flatten(1).T + weights["patch_embed.proj.bias"]
    resize = official_register_position if "register_tokens" in weights else official_plain_position
    x = torch.cat((weights["cls_token"].expand(count, 1, DIM), embedded), dim=1) + resize(weights["pos_embed"], grid)
    if "register_tokens" in weights:
        x = torch.cat((x[:, :1], weights["register_tokens"].expand(count, -1, DIM), x[:, 1:]), dim=1)
    hidden = []
    for block in range(DEPTH):
        name = f"blocks.{block}"
        x = x + weights[f"{name}.ls1.gamma"] * attention(norm(x, f"{name}.norm1"), f"{name}.attn")
        x = x + weights[f"{name}.ls2.gamma"] * mlp(norm(x, f"{name}.norm2"), f"{name}.mlp")
        hidden.append(x)
    return hidden
