"""Muon for the matrices of transformer blocks, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def muon(matrices: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Muon (Jordan et al., 2024) on 2-d parameters; its steps are as large as AdamW's at the same rate (arXiv 2502.16982).

    After as many steps its losses were clearly the lower ones, here of both the compact teacher and the decoder student.
    """
    return torch.optim.Muon(
        [{"params": matrices, "base_lr": learning_rate}], weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )


def scale_learning_rates(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    """Set each group's learning rate to `factor` times its "base_lr"."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
