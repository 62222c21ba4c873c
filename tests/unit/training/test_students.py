"""Both students against their definitions, written out by loops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.official_dinov2 import random_pixels
from training.students import DecoderStudent, EncoderStudent, LinearAttention, local_loss, semantic_loss
from training.teacher import Teacher, load_teacher

GROUPS, N, PATCHES, DIM = 2, 3, 5, 4


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> Teacher:
    return load_teacher(teacher_folder, 56)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.detach().double().flatten(), b.detach().double().flatten()
    return float(a @ b / (a.norm() * b.norm()))


def test_linear_attention_is_its_quadratic_definition() -> None:
    dim, heads, tokens = 12, 3, 7
    attention = LinearAttention(dim, heads)
    x = random(2, tokens, dim)
    q, k, v = attention.qkv(x).split(dim, dim=-1)
    expected = torch.zeros(2, tokens, dim)
    for n in range(2):
        for head in range(heads):
            part = slice(head * dim // heads, (head + 1) * dim // heads)
            for i in range(tokens):
                weights = [
                    (nn.functional.elu(q[n, i, part]) + 1) @ (nn.functional.elu(k[n, j, part]) + 1) for j in range(tokens)
                ]
                mixed = torch.stack([weight * v[n, j, part] for j, weight in enumerate(weights)]).sum(0)
                expected[n, i, part] = mixed / (sum(weights) + 1e-6)
    torch.testing.assert_close(attention(x), attention.projection(expected), rtol=1e-5, atol=1e-6)


def test_local_loss_is_its_definition() -> None:
    target, rebuilt = random(GROUPS, N, PATCHES, DIM), random(GROUPS, N, PATCHES, DIM, seed=1)
    expected = [sum(1 - cosine(target[g, n], rebuilt[g, n]) for g in range(GROUPS)) / GROUPS for n in range(N)]
    torch.testing.assert_close(local_loss(target, rebuilt), torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_semantic_loss_is_its_definition() -> None:
    target, predicted = random(4, N, DIM), random(4, N, DIM, seed=1)
    expected = [sum(1 - cosine(target[i, n], predicted[i, n]) for i in range(4)) / 4 for n in range(N)]
    torch.testing.assert_close(semantic_loss(target, predicted), torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hard_share", [0.25, 0.5, 0.75])
def test_hard_mining_scales_the_gradient_of_easy_points_alone(hard_share: float) -> None:
    target = random(GROUPS, N, PATCHES, DIM)
    plain, mined = (random(GROUPS, N, PATCHES, DIM, seed=1).requires_grad_() for _ in range(2))
    without, with_mining = local_loss(target, plain), local_loss(target, mined, hard_share)
    assert torch.equal(without, with_mining)
    torch.autograd.backward(without.sum())
    torch.autograd.backward(with_mining.sum())
    assert plain.grad is not None
    assert mined.grad is not None
    hard = int(N * PATCHES * (1 - hard_share))
    for group in range(GROUPS):
        distances = [1 - cosine(target[group, n, p], plain[group, n, p]) for n in range(N) for p in range(PATCHES)]
        worst = sorted(range(N * PATCHES), key=lambda i: -distances[i])[:hard]
        share = (mined.grad[group] / plain.grad[group]).flatten(0, 1)
        expected = torch.full_like(share, 0.1)
        expected[worst] = 1.0
        torch.testing.assert_close(share, expected, rtol=1e-4, atol=0)


def test_the_decoder_groups_its_reversed_outputs(teacher: Teacher) -> None:
    decoder = DecoderStudent(teacher, dropout=0.2).eval()
    outputs: list[Tensor] = []
    for block in decoder.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    hidden = teacher(random_pixels(2, 56))
    rebuilt, target = decoder(hidden), decoder.targets(hidden)
    assert rebuilt.shape == target.shape == (2, 2, 16, 64)
    patches = slice(1 + teacher.registers, None)
    for group, members in enumerate(([7, 6, 5, 4], [3, 2, 1, 0])):
        torch.testing.assert_close(rebuilt[group], sum(outputs[i][:, patches] for i in members) / 4)
    for group, members in enumerate((decoder.middle[:4], decoder.middle[4:])):
        torch.testing.assert_close(target[group], sum(hidden[i][:, patches] for i in members) / 4)


def test_the_bottleneck_is_noisy_in_training_alone(teacher: Teacher) -> None:
    decoder = DecoderStudent(teacher, dropout=0.2)
    hidden = teacher(random_pixels(1, 56))
    assert not torch.equal(decoder.train()(hidden), decoder(hidden))
    assert torch.equal(decoder.eval()(hidden), decoder(hidden))


def test_the_encoder_student_is_taught_class_tokens_alone(teacher: Teacher) -> None:
    encoder = EncoderStudent(teacher, depth=3, taught_blocks=2)
    images = random_pixels(2, 56)
    hidden = [tokens.requires_grad_() for tokens in teacher(images)]
    target, predicted = encoder.targets(hidden), encoder(images)
    assert target.shape == predicted.shape == (2, 2, 64)
    assert all(torch.equal(target[i], hidden[block][:, 0]) for i, block in enumerate((2, 3)))
    torch.autograd.backward(semantic_loss(target, predicted).sum())
    for block, tokens in enumerate(hidden):
        if block < 2:
            assert tokens.grad is None
        else:
            assert tokens.grad is not None
            assert tokens.grad[:, 0].abs().min() > 0
            assert not tokens.grad[:, 1:].any()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_the_encoder_student_answers_with_the_class_tokens_of_its_last_blocks(teacher: Teacher) -> None:
    encoder = EncoderStudent(teacher, depth=3, taught_blocks=2).eval()
    images = random_pixels(2, 56)
    tokens = encoder.embeddings(images)
    outputs: list[Tensor] = []
    for layer in encoder.layers:
        outputs.append(tokens := layer(tokens))
    for predicted, head, output in zip(encoder(images), encoder.heads, outputs[1:], strict=True):
        torch.testing.assert_close(predicted, head(output[:, 0]))


def test_the_encoder_student_starts_from_weights_of_its_own(teacher: Teacher) -> None:
    encoder = EncoderStudent(teacher, depth=3, taught_blocks=2)
    assert len(encoder.layers) == 3
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    pairs = zip(encoder.layers.parameters(), teacher.layers.parameters(), strict=False)
    assert not any(mine is theirs or torch.equal(mine, theirs) for mine, theirs in pairs if mine.ndim > 1)
    assert len(teacher.layers) == 4  # untouched


def test_zero_input_gives_no_nan(teacher: Teacher) -> None:
    decoder, encoder = DecoderStudent(teacher, dropout=0.2), EncoderStudent(teacher, depth=3, taught_blocks=2)
    images = torch.zeros(2, 56, 56, 3, dtype=torch.uint8)
    zero = [torch.zeros_like(tokens) for tokens in teacher(images)]
    for hidden in (teacher(images), zero):
        local = local_loss(decoder.targets(hidden), decoder(hidden), 0.5)
        semantic = semantic_loss(encoder.targets(hidden), encoder(images))
        torch.autograd.backward(local.sum() + semantic.sum())
        assert local.isfinite().all()
        assert semantic.isfinite().all()
    parameters = [*decoder.parameters(), *encoder.parameters()]
    assert all(parameter.grad.isfinite().all() for parameter in parameters if parameter.grad is not None)


def test_linear_attention_of_dead_keys_gives_no_nan() -> None:
    attention = LinearAttention(4, 1)
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.qkv.bias.fill_(-200.0)  # elu + 1 is exactly zero: no key has any weight
    x = random(1, 3, 4).requires_grad_()
    out = attention(x)
    torch.autograd.backward(out.sum())
    assert out.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_linear_attention_sums_in_float32_under_autocast() -> None:
    """Over a thousand tokens: half precision has no room for such sums, and nothing would tell."""
    attention = LinearAttention(64, 1)
    with torch.no_grad():
        attention.qkv.bias[:128] = 30.0  # a head's sum of products of queries and keys is above 65,504
    tokens = torch.randn(1, 1029, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        found = attention(tokens).float()
    with torch.no_grad():
        expected = attention(tokens)
    assert (found - expected).norm() < 0.05 * expected.norm()
