"""Muon and the schedule that both trainings share."""

from __future__ import annotations

import torch
from torch import nn

from training.optimizers import muon, scale_learning_rates


def test_muon_turns_every_direction_of_a_gradient_alike() -> None:
    matrix = nn.Parameter(torch.zeros(8, 8))
    optimizer = muon([matrix], learning_rate=0.1, weight_decay=0.0)
    scale_learning_rates([optimizer], 1.0)
    matrix.grad = torch.diag(torch.logspace(0, -2, 8))  # AdamW would keep its shape, plain descent its spread
    optimizer.step()
    spread = torch.linalg.svdvals(matrix.detach())
    assert spread.max() / spread.min() < 2.5
    assert (matrix.detach().diagonal() < 0).all()


def test_learning_rates_are_scaled_from_their_base_whatever_they_are_now() -> None:
    optimizer = muon([nn.Parameter(torch.zeros(2, 2))], learning_rate=0.5, weight_decay=0.0)
    for factor in (0.5, 0.1, 1.0):
        scale_learning_rates([optimizer], factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.5 * factor]
