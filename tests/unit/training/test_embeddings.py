"""Patch embedding and first tokens against the operations that they stand for."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2WithRegistersConfig

from tests.official_dinov2 import official_normalise, random_pixels
from training.embeddings import Embeddings, PatchEmbedding
from training.teacher import new_vit


@pytest.mark.parametrize("patch", [14, 16])
def test_it_is_the_convolution_of_normalised_images_and_teaches_the_same(patch: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 24, kernel_size=patch, stride=patch)
    images = random_pixels(2, 5 * patch)[:, : 3 * patch]
    gradients = []
    for tokens in (
        convolution(official_normalise(images)).flatten(2).transpose(1, 2),
        PatchEmbedding(convolution)(images),
    ):
        convolution.zero_grad()
        tokens.square().mean().backward()
        gradients.append([tokens, *(parameter.grad.clone() for parameter in convolution.parameters())])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("grey", [0, 1, 127, 128, 254, 255])
def test_each_grey_is_normalised_as_the_teacher_was_trained(grey: int) -> None:
    picture = nn.Conv2d(3, 3 * 14 * 14, kernel_size=14, stride=14)  # each output is one pixel's one channel
    nn.init.zeros_(picture.bias)
    picture.weight.data = torch.eye(3 * 14 * 14).reshape(-1, 3, 14, 14)
    images = torch.full((1, 14, 14, 3), grey, dtype=torch.uint8)
    expected = official_normalise(images).reshape(1, 1, -1)
    torch.testing.assert_close(PatchEmbedding(picture)(images), expected, rtol=0, atol=2e-6)


def test_half_precision_rounds_weights_and_no_pixel() -> None:
    """Pixels around 0 and weights that half precision holds exactly: nothing is rounded but the sum."""
    convolution = nn.Conv2d(3, 8, kernel_size=14, stride=14)
    embedding = PatchEmbedding(convolution)
    with torch.no_grad():
        embedding.scale.fill_(2.0**-6)  # powers of 2 are exact
        embedding.shift.zero_()
        convolution.weight.fill_(2.0**-5)
        nn.init.zeros_(cast(Tensor, convolution.bias))
        images = random_pixels(4, 56) // 2 + 64  # between 64 and 191
        exact = (images.double() - 128).reshape(4, 4, 14, 4, 14, 3).sum((2, 4, 5)).flatten(1) * 2.0**-11
        with torch.autocast("cpu", torch.float16):
            rounded = embedding(images)[..., 0]
    assert rounded.dtype == torch.float16
    torch.testing.assert_close(rounded.double(), exact, rtol=2.0**-10, atol=1e-6)


@pytest.mark.parametrize("registers", [0, 4])
def test_tokens_are_the_vits_own(registers: int) -> None:
    torch.manual_seed(0)
    settings = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "image_size": 56, "patch_size": 14}
    config = Dinov2WithRegistersConfig(**settings, num_register_tokens=registers) if registers else Dinov2Config(**settings)
    vit = new_vit(config)
    for parameter in vit.embeddings.parameters():
        nn.init.normal_(parameter)
    embeddings, images = Embeddings(vit, vit.embeddings.position_embeddings), random_pixels(3, 56)
    torch.testing.assert_close(embeddings(images), vit.embeddings(official_normalise(images)), rtol=1e-4, atol=1e-4)
    names = set(vit.embeddings.state_dict()) - {"mask_token"}
    assert set(embeddings.state_dict()) == names  # those that checkpoints of older runs have
