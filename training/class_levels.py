"""Levels of the normal classes (ours): what one class's good pictures score must not hide another's defects.

A generalist model knows classes that it rebuilds well and classes that it does not: the good photographs' scores lie above
the machined parts' defects, and one threshold for both finds nothing on the parts. So the local score is measured in units of
the level of the class that a picture looks most like, by the teacher's class token. Between classes the level changes smoothly.
The semantic score needs none: it is whitened, and its levels are alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from .distance import unit

SHARPNESS = 30.0  # of the softmax over classes: a class as far off as classes are on average weighs e^-30


class ClassLevels(BaseModel):
    """What calibration measures: a prototype and a level for every normal class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prototypes: tuple[tuple[float, ...], ...]  # mean unit class token of each class
    local: tuple[float, ...]  # a high quantile of the class's good local scores


class LevelScale(nn.Module):
    """Class tokens [N, d] to each picture's factor of its local score, [N]; the classes' mean logarithm is 0."""

    prototypes: Tensor
    log_factors: Tensor

    def __init__(self, levels: ClassLevels) -> None:
        super().__init__()
        directions = unit(torch.tensor(levels.prototypes))
        # of unit vectors 2 - 2 cos is the squared distance: in units of its mean, any teacher's tokens are alike
        apart = torch.pdist(directions).square().mean().clamp_min(1e-6)
        self.register_buffer("prototypes", directions * (2 * SHARPNESS / apart))
        logarithms = torch.tensor(levels.local, dtype=torch.float64).log()
        self.register_buffer("log_factors", (logarithms.mean() - logarithms).float())

    def forward(self, class_tokens: Tensor) -> Tensor:
        likeness = unit(class_tokens) @ self.prototypes.T
        return (F.softmax(likeness, dim=-1) @ self.log_factors).exp()


def prototypes(class_tokens: Sequence[Tensor]) -> Tensor:
    """The mean unit token of each class [classes, d], from its class tokens [M, d]."""
    return torch.stack([unit(tokens).mean(0) for tokens in class_tokens])


def nearest_class(class_tokens: Tensor, prototypes: Tensor) -> Tensor:
    """The class whose prototype each token [N, d] points to most, [N]."""
    return (unit(class_tokens) @ unit(prototypes).T).argmax(-1)
