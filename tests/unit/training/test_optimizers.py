"""Muon, StableAdamW, and the schedule that both trainings share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.optimizers import Muon, StableAdamW, scale_learning_rates


def test_muon_turns_every_direction_of_a_gradient_alike() -> None:
    matrix = nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([matrix], learning_rate=0.1, weight_decay=0.0)
    scale_learning_rates([optimizer], 1.0)
    matrix.grad = torch.diag(torch.logspace(0, -2, 8))  # AdamW would keep its shape, plain descent its spread
    optimizer.step()
    spread = torch.linalg.svdvals(matrix.detach())
    assert spread.max() / spread.min() < 2.5
    assert (matrix.detach().diagonal() < 0).all()


def test_learning_rates_are_scaled_from_their_base_whatever_they_are_now() -> None:
    optimizer = Muon([nn.Parameter(torch.zeros(2, 2))], learning_rate=0.5, weight_decay=0.0)
    for factor in (0.5, 0.1, 1.0):
        scale_learning_rates([optimizer], factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.5 * factor]


def stable_adamw_by_definition(gradients: list[torch.Tensor], rate: float, decay: float) -> torch.Tensor:
    """A zero tensor after these gradients, every quantity written out (arXiv 2304.13013, algorithm 2; AMSGrad as in torch)."""
    value = torch.zeros_like(gradients[0])
    first, second, largest = torch.zeros_like(value), torch.zeros_like(value), torch.zeros_like(value)
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        largest = torch.maximum(largest, second)
        excess = (gradient**2 / (largest / (1 - 0.999**step)).clamp_min(1e-20)).mean().sqrt().clamp_min(1.0)
        slowed = rate / excess
        value = value * (1 - slowed * decay)
        value = value - slowed * (first / (1 - 0.9**step)) / ((largest / (1 - 0.999**step)).sqrt() + 1e-10)
    return value


def test_stable_adamw_is_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [scale * torch.randn(5, 3, generator=generator) for scale in (1.0, 0.5, 30.0, 1.0, 0.1)]
    parameters = [nn.Parameter(torch.zeros(5, 3)), nn.Parameter(torch.zeros(2))]
    optimizer = StableAdamW([{"params": parameters, "base_lr": 0.01}], weight_decay=0.1)
    for gradient in gradients:
        scale_learning_rates([optimizer], 1.0)
        parameters[0].grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(parameters[0].detach(), stable_adamw_by_definition(gradients, 0.01, 0.1))
    assert not parameters[1].detach().any()  # it had no gradient
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01]


def test_a_gradient_that_jumps_moves_its_own_tensor_little_and_the_others_as_ever() -> None:
    moved = []
    for jump in (1.0, 100.0):
        calm, jumpy = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
        optimizer = StableAdamW([{"params": [calm, jumpy], "base_lr": 0.01}], weight_decay=0.0)
        for scale in [1.0] * 20 + [jump]:
            scale_learning_rates([optimizer], 1.0)
            before = [calm.detach().clone(), jumpy.detach().clone()]
            calm.grad, jumpy.grad = torch.ones(4), scale * torch.ones(4)
            optimizer.step()
        moved.append([float((now.detach() - then).abs().max()) for now, then in zip((calm, jumpy), before, strict=True)])
    assert moved[0][0] == pytest.approx(moved[1][0])
    assert moved[1][1] < moved[0][1]


@pytest.mark.parametrize(("precision", "largest"), [("bf16", 0.0), ("fp32", 0.1)])
@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_muon_steps_as_torch_s_does(
    monkeypatch: pytest.MonkeyPatch, precision: str, largest: float, shape: tuple[int, int]
) -> None:
    """In bfloat16 to the last bit; in float32 up to what bfloat16 rounds away."""
    monkeypatch.setattr("training.optimizers.native_precision", lambda: precision)
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    optimizers = (
        Muon([ours], learning_rate=0.1, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    scale_learning_rates(optimizers[:1], 1.0)
    for _ in range(3):
        before = theirs.detach().clone()
        ours.grad = theirs.grad = torch.randn(shape)
        for optimizer in optimizers:
            optimizer.step()
        assert (ours - theirs).abs().max() <= largest * (theirs - before).abs().max()
