"""Cosine distance as both students are measured by it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-8  # a zero vector has no direction: it stays zero, and its distance to anything is 1/2 or 0, never NaN


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos(a, b) over the last axis, in [0, 2].

    Written as half the squared distance of the unit vectors: 1 - cos itself cancels where it is small, which is where the
    scores of good pictures lie, and would make them depend on the order of summation.
    """
    return (F.normalize(a.float(), dim=-1, eps=EPSILON) - F.normalize(b.float(), dim=-1, eps=EPSILON)).square().sum(-1) / 2
