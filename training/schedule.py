"""Learning-rate schedule: linear warm-up from zero, then a cosine to a final share."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, warmup: int, final: float) -> float:
    """Factor in (0, 1] on the base learning rate at `step` (0-based) of `steps`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
