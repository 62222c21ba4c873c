"""The semantic score (ours): the encoder student's error in units of how that error varies over good pictures.

The paper's score is the cosine distance between the teacher's class tokens and the student's. It weighs every direction alike:
where the student is unsure of something that varies among good pictures anyway, an anomaly in a direction that never varies
is lost in that noise. Here the difference of the unit tokens is whitened by its covariance over training pictures (Mahalanobis
distance, with the shrinkage of Ledoit and Wolf, 2004, that makes it good for few pictures too).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from .distance import unit
from .processes import scoring_device
from .students import EncoderStudent
from .teacher import Teacher
from .tiling import BATCH, StoredTiles

MOST_TILES = 2_000
RIDGE = 1e-3  # of the mean variance: good pictures that are all alike must not make it infinite


class Whitening(nn.Module):
    """Class tokens [taught, N, d] of teacher and student to the semantic score [N], of training pictures 1 on average."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int) -> None:
        """For taught * d = `width`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    def forward(self, target: Tensor, predicted: Tensor) -> Tensor:
        return ((residuals(target, predicted) - self.mean) @ self.matrix).square().mean(-1)


def residuals(target: Tensor, predicted: Tensor) -> Tensor:
    """Differences of unit class tokens [taught, N, d], those of all taught blocks side by side: [N, taught * d]."""
    return (unit(target) - unit(predicted)).transpose(0, 1).flatten(1)


@torch.inference_mode()
def fit_whitening(teacher: Teacher, encoder: EncoderStudent, tiles: StoredTiles) -> Whitening:
    """The whitening of a trained encoder student's residuals on good tiles, of which at most 2,000 are looked at."""
    numbers = np.linspace(0, len(tiles) - 1, min(len(tiles), MOST_TILES)).astype(int)
    device, found = scoring_device(), []
    teacher, encoder = teacher.to(device), encoder.to(device)
    for start in range(0, len(numbers), BATCH):
        images = torch.from_numpy(tiles[numbers[start : start + BATCH]]).to(device)
        found.append(residuals(encoder.targets(teacher(images)), encoder(images)).cpu())
    return whitening_of(torch.cat(found).double().numpy())


def unwhitened(encoder: EncoderStudent, teacher: Teacher) -> Whitening:
    """The identity, so scaled that the semantic score is the paper's: 1 - cos of each taught block's tokens, their mean."""
    whitening = Whitening(encoder.taught * teacher.dim)
    whitening.matrix.mul_(math.sqrt(teacher.dim / 2))  # |u - v|^2 = 2 (1 - cos) of unit tokens
    return whitening


def whitening_of(errors: npt.NDArray[np.float64]) -> Whitening:
    """The whitening of residuals [M, taught * d] of good tiles."""
    mean = errors.mean(axis=0)
    covariance, _ = ledoit_wolf(errors - mean, assume_centered=True)
    variance = max(float(np.trace(covariance)) / len(mean), 1e-12)
    precision = np.linalg.inv(covariance + RIDGE * variance * np.eye(len(mean)))
    whitening = Whitening(len(mean))
    whitening.mean.copy_(torch.from_numpy(mean))
    whitening.matrix.copy_(torch.from_numpy(np.linalg.cholesky(precision)))
    return whitening
