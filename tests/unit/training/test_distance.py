from __future__ import annotations

import pytest
import torch

from training.distance import cosine_distance


def test_it_is_one_minus_the_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 8, generator=generator), torch.randn(50, 8, generator=generator)
    expected = 1 - torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1)
    torch.testing.assert_close(cosine_distance(a, b).double(), expected, rtol=1e-5, atol=1e-6)


def test_extremes() -> None:
    a = torch.tensor([3.0, 4.0])
    for b, expected in ((2 * a, 0.0), (-a, 2.0), (torch.tensor([-4.0, 3.0]), 1.0)):
        assert cosine_distance(a, b).item() == pytest.approx(expected, abs=1e-6)


def test_small_distances_keep_their_digits() -> None:
    angle = torch.tensor([1e-3, 2e-4], dtype=torch.float64)
    a = torch.tensor([1.0, 0.0]).expand(2, 2)
    b = torch.stack((angle.cos(), angle.sin()), dim=-1).float()
    expected = 2 * (angle / 2).sin() ** 2  # 5e-7 and 2e-8: 1 - cos in float32 has one digit of the first, none of the second
    torch.testing.assert_close(cosine_distance(a, b).double(), expected, rtol=1e-3, atol=0)


def test_zero_vectors_have_a_finite_distance_and_gradient() -> None:
    a, b = torch.zeros(2, requires_grad=True), torch.tensor([1.0, 0.0])
    distance = cosine_distance(a, b)
    torch.autograd.backward(distance)
    assert distance.item() == 0.5
    assert cosine_distance(torch.zeros(2), torch.zeros(2)).item() == 0
    assert a.grad is not None
    assert a.grad.isfinite().all()
