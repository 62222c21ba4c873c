"""The teacher against `transformers`, and against the official definition written down here a second time."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersModel, ViTConfig, ViTModel

from tests.official_dinov2 import (
    DEPTH,
    DIM,
    NATIVE,
    Weights,
    official_blocks,
    official_normalise,
    official_plain_position,
    official_weights,
    random_pixels,
)
from training.errors import TrainingError
from training.teacher import COMPACT_FOLDER, load_teacher, middle_blocks, resize_position

VARIANTS = [(0, False), (2, False), (0, True), (4, True)]  # registers, SwiGLU


# transformers' own model


@pytest.mark.parametrize("input_size", [56, 84, 98])  # 84 is native
def test_hidden_states_are_those_of_transformers(teacher_folder: Path, input_size: int) -> None:
    images = random_pixels(2, input_size)
    reference = Dinov2WithRegistersModel.from_pretrained(teacher_folder)  # in evaluation mode
    teacher = load_teacher(teacher_folder, input_size)
    with torch.no_grad():
        expected = reference(official_normalise(images), output_hidden_states=True).hidden_states[1:]
        found = teacher(images)
    assert [hidden.shape for hidden in found] == [(2, 1 + 3 + (input_size // 14) ** 2, 64)] * 4
    for mine, theirs in zip(found, expected, strict=True):  # its patch embedding is a convolution of normalised images
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


# the official definition


@pytest.mark.parametrize("grid", [NATIVE, 3, 7])
@pytest.mark.parametrize(("registers", "swiglu"), VARIANTS)
def test_official_checkpoints_give_what_the_official_code_gives(
    tmp_path: Path, registers: int, swiglu: bool, grid: int
) -> None:
    weights = official_weights(registers, swiglu)
    torch.save(weights, tmp_path / "dinov2_vits14_pretrain.pth")
    teacher = load_teacher(tmp_path / "dinov2_vits14_pretrain.pth", 14 * grid)
    images = random_pixels(2, 14 * grid)
    with torch.no_grad():
        found, expected = teacher(images), official_blocks(weights, official_normalise(images))
    assert len(found) == DEPTH
    for a, b in zip(found, expected, strict=True):
        assert a.shape == (2, 1 + registers + grid**2, DIM)
        assert ((a - b).abs().max() / b.abs().mean()).item() < 1e-4
    assert (teacher.info.source, teacher.info.stand_in) == ("dinov2_vits14_pretrain.pth", False)


@pytest.mark.parametrize(("side", "grid"), [(37, 16), (37, 28), (5, 8)])
def test_plain_positions_follow_the_official_scale_factor(side: int, grid: int) -> None:
    position = torch.randn(1, 1 + side**2, 6, generator=torch.Generator().manual_seed(side))
    found, expected = resize_position(position, grid, registers=False), official_plain_position(position, grid)
    assert found.shape == (1, 1 + grid**2, 6)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # the offset matters: an explicit size would give other numbers
    assert (found - resize_position(position, grid, registers=True)).abs().max() > 1e-2


def test_plain_hub_models_follow_the_official_rule_too(tmp_path: Path, randomise: Callable[[nn.Module, int], None]) -> None:
    vit = Dinov2Model(Dinov2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=70, patch_size=14))
    randomise(vit, 3)
    vit.save_pretrained(tmp_path)
    position = load_teacher(tmp_path, 98).embeddings.position_embeddings
    torch.testing.assert_close(
        position, official_plain_position(vit.embeddings.position_embeddings.detach(), 7), rtol=0, atol=1e-5
    )


# strict loading

OLDER_NAMES = {
    ".attention.q_proj.": ".attention.attention.query.",
    ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.",
    ".attention.o_proj.": ".attention.output.dense.",
}


def older_names(state: Weights) -> Weights:
    """The key names of the files on the hub."""
    renamed = {}
    for key, tensor in state.items():
        for new, old in OLDER_NAMES.items():
            key = key.replace(new, old)
        renamed[key] = tensor.contiguous()
    return renamed


def test_the_hubs_older_key_names_load(tmp_path: Path, teacher_folder: Path) -> None:
    state = older_names(Dinov2WithRegistersModel.from_pretrained(teacher_folder).state_dict())
    expected_keys = {
        "embeddings.register_tokens", "encoder.layer.0.attention.attention.query.weight",
        "encoder.layer.3.attention.output.dense.bias", "encoder.layer.0.layer_scale1.lambda1", "encoder.layer.2.mlp.fc1.weight",
        "layernorm.weight",
    }  # fmt: skip
    assert expected_keys <= state.keys()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(teacher_folder / "config.json", tmp_path)
    images = random_pixels(1, 56)
    newer, older = load_teacher(teacher_folder, 56), load_teacher(tmp_path, 56)
    assert all(torch.equal(a, b) for a, b in zip(newer(images), older(images), strict=True))
    assert newer.info.sha256 == older.info.sha256


def lose_a_key(weights: Weights, key: str) -> None:
    del weights[key]


def add_a_key(weights: Weights, key: str) -> None:
    weights[key.replace("weight", "surplus")] = torch.zeros(3)


def misshape_a_key(weights: Weights, key: str) -> None:
    weights[key] = weights[key][:-1].clone()


@pytest.mark.parametrize("spoil", [lose_a_key, add_a_key, misshape_a_key])
def test_weights_in_hub_format_must_fit_exactly(
    tmp_path: Path, teacher_folder: Path, spoil: Callable[[Weights, str], None]
) -> None:
    shutil.copytree(teacher_folder, tmp_path / "teacher")
    file = tmp_path / "teacher" / "model.safetensors"
    weights = load_file(file)
    spoil(weights, "encoder.layer.1.norm1.weight")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(TrainingError, match=r"weights in .*teacher do not fit.*encoder\.layer\.1\.norm1\.(weight|surplus)"):
        load_teacher(tmp_path / "teacher", 56)


@pytest.mark.parametrize("key", ["blocks.1.norm1.weight", "blocks.2.attn.qkv.weight", "norm.weight"])
@pytest.mark.parametrize("spoil", [lose_a_key, add_a_key, misshape_a_key])
def test_official_weights_must_fit_exactly(tmp_path: Path, spoil: Callable[[Weights, str], None], key: str) -> None:
    weights = official_weights(registers=2, swiglu=False)
    spoil(weights, key)
    torch.save(weights, tmp_path / "teacher.pth")
    with pytest.raises(TrainingError, match="does not fit Dinov2WithRegistersModel"):
        load_teacher(tmp_path / "teacher.pth", 56)


def test_files_that_are_no_official_checkpoint_are_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage.pth").write_bytes(b"not a checkpoint at all")
    with pytest.raises(TrainingError, match=r"garbage\.pth is not a PyTorch checkpoint"):
        load_teacher(tmp_path / "garbage.pth", 56)
    torch.save({"model.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(TrainingError, match=r"other\.pth is not an official DINOv2 backbone: it lacks cls_token"):
        load_teacher(tmp_path / "other.pth", 56)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    config = ViTConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64, image_size=56)
    ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="is a 'vit' model; a teacher is one of dinov2, dinov2_with_registers"):
        load_teacher(tmp_path, 56)


# the rest of the contract


def test_the_teacher_is_frozen_and_stays_in_evaluation_mode(teacher_folder: Path) -> None:
    teacher = load_teacher(teacher_folder, 56)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    teacher.train()
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())


@pytest.mark.parametrize("input_size", [57, 0, -14, 13])
def test_an_input_size_that_is_no_multiple_of_the_patch_is_refused(teacher_folder: Path, input_size: int) -> None:
    with pytest.raises(TrainingError, match=rf"input size {input_size} is not a positive multiple of the teacher's patch, 14"):
        load_teacher(teacher_folder, input_size)


def test_an_unknown_source_is_refused_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 sets at import
    touched: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: touched.append(address))
    with pytest.raises(TrainingError, match=r"no teacher at 'nobody/no-such-teacher': give 'compact', a folder in hub format"):
        load_teacher("nobody/no-such-teacher", 56)
    assert not touched


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no teacher at"):
        load_teacher(tmp_path, 56)


def test_the_fingerprint_follows_the_weights(tmp_path: Path, teacher_folder: Path) -> None:
    first = load_teacher(teacher_folder, 56).info
    assert first == load_teacher(teacher_folder, 98).info  # whatever the input size
    vit = Dinov2WithRegistersModel.from_pretrained(teacher_folder)
    with torch.no_grad():
        vit.layernorm.bias[0] += 1e-3
    vit.save_pretrained(tmp_path)
    assert load_teacher(tmp_path, 56).info.sha256 != first.sha256


def test_a_stand_in_is_flagged_wherever_it_lies(tmp_path: Path, teacher_folder: Path) -> None:
    assert not load_teacher(teacher_folder, 56).info.stand_in
    shutil.copytree(teacher_folder, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"stand_in": True}))
    assert load_teacher(tmp_path / "copy", 56).info.stand_in


def test_the_compact_teacher_loads_and_is_called_a_stand_in() -> None:
    teacher = load_teacher("compact", 224)
    assert (teacher.info.source, teacher.info.stand_in) == ("compact", True)
    assert (teacher.depth, teacher.dim, teacher.registers, teacher.grid) == (12, 192, 4, 16)
    hidden = teacher(random_pixels(1, 224))
    assert all(torch.isfinite(tokens).all() for tokens in hidden)
    assert {tokens.shape for tokens in hidden[:-1]} == {(1, 1 + 4 + 256, 192)}
    assert sum(file.stat().st_size for file in COMPACT_FOLDER.iterdir()) <= 15e6


def test_middle_blocks_are_dinomalys() -> None:
    assert middle_blocks(12) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert middle_blocks(24) == [4, 6, 8, 10, 12, 14, 16, 18]


@pytest.mark.parametrize("depth", [4, 6, 12, 24, 32, 40])
def test_middle_blocks_exist_and_ascend(depth: int) -> None:
    blocks = middle_blocks(depth)
    assert len(blocks) == 8
    assert blocks == sorted(blocks)
    assert blocks[0] >= 0
    assert blocks[-1] < depth
