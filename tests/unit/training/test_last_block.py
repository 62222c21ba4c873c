"""The last block for its class token alone, against the whole block."""

from __future__ import annotations

import pytest
import torch
from transformers import Dinov2Config, Dinov2WithRegistersConfig

from training.last_block import class_token
from training.teacher import load_teacher, new_vit


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("swiglu", [False, True])
def test_it_is_the_first_token_of_the_whole_block_and_teaches_the_same(registers: bool, swiglu: bool) -> None:
    torch.manual_seed(0)
    config = Dinov2WithRegistersConfig if registers else Dinov2Config
    vit = new_vit(config(hidden_size=48, num_hidden_layers=1, num_attention_heads=3, use_swiglu_ffn=swiglu))
    block = vit.encoder.layer[0].double()
    for parameter in block.parameters():  # layer scales, norms and biases of their own, not ones and zeros
        torch.nn.init.normal_(parameter, std=0.5)
    tokens = torch.randn(2, 9, 48, dtype=torch.float64)
    gradients = []
    for found in (block(tokens)[:, :1], class_token(block, tokens)):
        block.zero_grad()
        found.square().sum().backward()
        gradients.append([found, *(parameter.grad.clone() for parameter in block.parameters())])
    for whole, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, whole, rtol=1e-9, atol=1e-8)


def test_the_teacher_ends_in_a_class_token_and_its_middle_blocks_are_whole() -> None:
    teacher = load_teacher("compact", 56)
    assert max(teacher.middle) < teacher.depth - 1
    *whole, last = teacher(torch.zeros(2, 56, 56, 3, dtype=torch.uint8))
    assert {tuple(tokens.shape) for tokens in whole} == {(2, 1 + 4 + 16, 192)}
    assert last.shape == (2, 1, 192)
