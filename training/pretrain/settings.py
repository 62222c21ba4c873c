"""The schedule of the pre-training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainSettings:
    """Schedule of the pre-training. Steps alternate between 112 px and 224 px pictures at about equal cost."""

    steps: int = 2600
    batch_size: int = 64
    learning_rate: float = 2e-3  # AdamW: embeddings, heads, norms
    matrix_learning_rate: float = 8e-3  # Muon: the matrices of the blocks
    weight_decay: float = 0.05
    warmup_steps: int = 100
    small_share: float = 0.4
    checkpoint_every: int = 250
    seed: int = 0
