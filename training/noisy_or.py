"""The Noisy-OR: a picture is anomalous if either branch says so (design, section 3).

A branch with hazard x >= 0 says "good" with probability exp(-x); branches are independent causes, so their hazards add:
P(anomalous) = 1 - exp(-sum of hazards). Training takes the hazards to be the weighted losses; the calibrated scores take them
to be softplus(u), for which 1 - exp(-softplus(u)) = sigmoid(u).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def joint_hazard(hazards: Sequence[Tensor]) -> Tensor:
    """The sum of the branches' hazards, -log P(good); also the negative log-likelihood of a good image."""
    return torch.stack(list(hazards)).sum(0)


def surprise_of_defect(hazard: Tensor) -> Tensor:
    """-log P(anomalous) = -log(1 - exp(-hazard)), the negative log-likelihood of a labelled defect (ours)."""
    return -torch.log(-torch.expm1(-hazard.clamp_min(1e-6)))


def hazard_of_logit(logit: Tensor) -> Tensor:
    """Hazard of a branch whose probability of "anomalous" is sigmoid(logit)."""
    return F.softplus(logit)


def probability(hazard: Tensor) -> Tensor:
    """P(anomalous) = 1 - exp(-hazard), in [0, 1].

    Written with t = tanh(hazard / 2): ONNX has no expm1, and 1 - exp, like Sigmoid there, loses digits of small probabilities.
    """
    t = torch.tanh(hazard / 2)
    return 2 * t / (1 + t)
