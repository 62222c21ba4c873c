"""The frozen teacher: DINOv2, with or without registers, from a hub, a folder, an official file or the compact stand-in."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)
from transformers.utils.logging import disable_progress_bar

from service.model_format import TeacherInfo

from .embeddings import Embeddings, Vit
from .errors import TrainingError
from .last_block import class_token
from .official_checkpoint import read_official_checkpoint

COMPACT = "compact"
COMPACT_FOLDER = Path(__file__).parent / "weights" / COMPACT
MODELS: dict[str, type[Vit]] = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel}
MIDDLE_BLOCKS = 8


class Teacher(nn.Module):
    """A frozen DINOv2 for one fixed input size.

    Position embeddings are resized once, here, and kept as a constant, so that nothing is interpolated when it runs.
    """

    def __init__(self, vit: Vit, input_size: int, info: TeacherInfo) -> None:
        super().__init__()
        config = vit.config
        patch = cast(int, config.patch_size)
        if input_size <= 0 or input_size % patch:
            raise TrainingError(f"input size {input_size} is not a positive multiple of the teacher's patch, {patch}")
        self.config: Dinov2Config | Dinov2WithRegistersConfig = config
        self.info = info
        self.input_size = input_size
        self.grid = input_size // patch
        self.depth: int = config.num_hidden_layers
        self.dim: int = config.hidden_size
        self.registers: int = getattr(config, "num_register_tokens", 0)
        position = resize_position(vit.embeddings.position_embeddings, self.grid, bool(self.registers))
        self.embeddings = Embeddings(vit, nn.Parameter(position))
        self.layers: nn.ModuleList = vit.encoder.layer
        self.middle = middle_blocks(self.depth)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """uint8 RGB pixels [N, S, S, 3] to the hidden states after each block, before the final norm.

        Each is [N, 1 + registers + patches, d]: the class token, the registers, the patch tokens row by row. Of the last
        block it is the class token alone, [N, 1, d], unless that is one of the middle blocks.
        """
        tokens = self.embeddings(images)
        hidden = []
        for number, layer in enumerate(self.layers):
            last = number == self.depth - 1 and number not in self.middle
            tokens = class_token(layer, tokens) if last else layer(tokens)
            hidden.append(tokens)
        return hidden

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002
        """The teacher is frozen: it stays in evaluation mode whatever the students do."""
        super().train(False)
        return self


def middle_blocks(depth: int) -> list[int]:
    """The eight teacher blocks (0-based) that the decoder student rebuilds: 2..9 of 12, 4,6..18 of 24 (Dinomaly)."""
    first, last = depth / 6, depth * 3 / 4
    return [round(first + i * (last - first) / (MIDDLE_BLOCKS - 1)) for i in range(MIDDLE_BLOCKS)]


def resize_position(position: Tensor, grid: int, registers: bool) -> Tensor:
    """Position embeddings [1, 1 + n*n, d] for another patch grid: [1, 1 + grid*grid, d].

    As the official code does: with registers bicubic, antialiased, to an explicit size; the plain variants bicubic without
    antialiasing and with the scale factor (grid + 0.1) / n that their training used.
    """
    side = math.isqrt(position.shape[1] - 1)
    if side == grid:
        return position.detach().clone()
    patches = position[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if registers:
        patches = F.interpolate(patches, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    else:
        scale = float(grid + 0.1) / side
        patches = F.interpolate(patches, scale_factor=(scale, scale), mode="bicubic", antialias=False, align_corners=False)
    return torch.cat((position[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2).to(position.dtype)), dim=1).detach()


def load_teacher(source: str | Path, input_size: int) -> Teacher:
    """Load a frozen teacher for square inputs of `input_size` pixels.

    `source` is "compact" (the stand-in that ships), the file of an official `dinov2_*_pretrain.pth`, a folder in hub format, or
    a hub id such as "facebook/dinov2-with-registers-base". Raises TrainingError when weights are missing, left over or of the
    wrong shape: loading is strict.
    """
    path = COMPACT_FOLDER if source == COMPACT else Path(source)
    if path.is_file():
        vit = _build(*read_official_checkpoint(path))
    else:
        vit = _from_hub_format(path if path.is_dir() else str(source))
    name = path.name if path.exists() else str(source)
    stand_in = bool(getattr(vit.config, "stand_in", False))
    return Teacher(vit, input_size, TeacherInfo(source=name, sha256=_fingerprint(vit), stand_in=stand_in))


def new_vit(config: Dinov2Config | Dinov2WithRegistersConfig) -> Vit:
    """A ViT of the configured kind with random weights."""
    return Dinov2WithRegistersModel(config) if isinstance(config, Dinov2WithRegistersConfig) else Dinov2Model(config)


def _build(config: Dinov2Config | Dinov2WithRegistersConfig, state: dict[str, Tensor]) -> Vit:
    vit = new_vit(config)
    try:
        vit.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise TrainingError(f"official checkpoint does not fit {type(vit).__name__}: {error}") from error
    return vit


def _from_hub_format(source: str | Path) -> Vit:
    # of reading the weights, which takes a moment; downloads keep theirs
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model_type: str = AutoConfig.from_pretrained(source).model_type
        if model_type in MODELS:
            loaded = MODELS[model_type].from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, use_safetensors=True, ignore_mismatched_sizes=True
            )
    except (OSError, ValueError) as error:  # nothing there, or what is there is no model
        raise TrainingError(
            f"no teacher at '{source}': give 'compact', a folder in hub format, an official dinov2_*_pretrain.pth file, or a "
            f"hub id that this machine can reach ({error})"
        ) from error
    if model_type not in MODELS:
        raise TrainingError(f"{source} is a '{model_type}' model; a teacher is one of {', '.join(MODELS)}")
    vit, loading = cast(tuple[Vit, dict[str, set[str]]], loaded)
    faults = {kind: sorted(map(str, loading[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(faults.values()):
        raise TrainingError(f"weights in {source} do not fit: " + "; ".join(f"{k}: {v[:5]}" for k, v in faults.items() if v))
    return vit


def _fingerprint(vit: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(vit.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().numpy().tobytes())
    return digest.hexdigest()
