"""Cosine distance as both students are measured by it."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-8  # a zero vector has no direction: it stays zero, and its distance to anything is 1/2 or 0, never NaN


def unit(vectors: Tensor) -> Tensor:
    """The directions of vectors along the last axis, each of length 1.

    As F.normalize, which exports an Expand of each length to the size of its vector.
    """
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / lengths.clamp_min(EPSILON)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos(a, b) over the last axis, in [0, 2].

    Written as half the squared distance of the unit vectors: 1 - cos itself cancels where it is small, which is where the
    scores of good pictures lie, and would make them depend on the order of summation.
    """
    return (unit(a.float()) - unit(b.float())).square().sum(-1) / 2
