"""The patch embedding against the convolution that it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.patch_embedding import PatchEmbedding


@pytest.mark.parametrize("patch", [14, 16])
def test_it_is_the_convolution_and_teaches_the_same(patch: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 24, kernel_size=patch, stride=patch).double()
    images = torch.randn(2, 3, 3 * patch, 5 * patch, dtype=torch.float64)
    gradients = []
    for tokens in (convolution(images).flatten(2).transpose(1, 2), PatchEmbedding(convolution)(images)):
        convolution.zero_grad()
        tokens.square().sum().backward()
        gradients.append([tokens, *(parameter.grad.clone() for parameter in convolution.parameters())])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_its_weights_have_the_names_that_checkpoints_give_them() -> None:
    assert set(PatchEmbedding(nn.Conv2d(3, 8, 14, 14)).state_dict()) == {"projection.weight", "projection.bias"}
