"""What decides the outcome of a run, and the recipes that it can follow."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.model_format import Shape, Tiles, input_shape

from .precision import Precision, native_precision

RecipeName = Literal["duet", "paper"]


class FitSettings(BaseModel):
    """Everything that decides the outcome of a run, recorded in it.

    The defaults are Duet's own recipe, whose decoder student learns to undo spoilt pictures (ours; see spoiling.py).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: str = "compact"
    input_size: int = Field(default=392, gt=0, multiple_of=14)
    tiles: Tiles | None = Field(default=None, description="of side input_size, that large pictures are cut into (ours)")
    steps: int = Field(default=10_000, gt=0)
    batch_size: int = Field(default=16, gt=0, description="pictures a step, over all processes and passes")
    accumulate: int = Field(default=1, gt=0, description="passes that a process takes for its share of a batch: saves memory")
    precision: Precision = Field(
        default_factory=native_precision, description="of the networks' arithmetic in training; what the machine computes best"
    )
    optimizer: Literal["muon", "stable-adamw"] = Field(
        default="muon", description="muon for the decoder's matrices and AdamW for the rest, or StableAdamW for everything"
    )
    decoder_learning_rate: float = Field(default=2e-3, gt=0, description="of what Muon does not train")
    decoder_matrix_learning_rate: float = Field(default=1.2e-2, gt=0, description="Muon: its matrices")
    encoder_learning_rate: float = Field(default=5e-4, gt=0)
    final_learning_rate_share: float = Field(default=0.1, gt=0, le=1)
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip_norm: float = Field(default=0.1, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1, description="of the noisy bottleneck")
    hard_share: float = Field(default=0.0, ge=0, lt=1, description="final p of the hard mining")
    hard_steps: int = Field(default=1000, gt=0, description="steps over which p rises")
    spoilt_share: float = Field(default=0.75, ge=0, le=1, description="pictures that the decoder student sees spoilt (ours)")
    taught_blocks: int = Field(default=4, gt=0)
    encoder_depth: Annotated[int, Field(gt=0)] | Literal["full"] | None = Field(
        default=None, description="blocks of the encoder student; full: as many as the teacher has; absent: half of them (ours)"
    )
    class_turns: bool = Field(default=True, description="classes take turns, so that rare ones are seen as often (ours)")
    class_levels: bool = Field(default=True, description="the local score in units of the level of the picture's class (ours)")
    whitened: bool = Field(default=True, description="the semantic score as a Mahalanobis distance (ours), not L_E")
    smoothing_reach: float = Field(
        default=4.0, gt=0, description="standard deviations at which the map's Gaussian is cut off; of a 5 x 5 kernel 0.5"
    )
    defect_share: float = Field(
        default=0.25, gt=0, description="labelled defects, where there are any, shown beside a step's good pictures (ours)"
    )
    # a labelled defect is found (P = 0.95) where the features differ by 0.15; with 1 it tears apart what good ones need (ours)
    local_weight: float = Field(default=20.0, gt=0, description="lambda_D")
    semantic_weight: float = Field(default=1.0, gt=0, description="lambda_E")
    held_out_share: float = Field(default=0.1, gt=0, lt=1)
    folds: int = Field(default=0, ge=0, description="cross-fitted calibration in so many folds; 0 sets pictures apart instead")
    alpha: float = Field(default=0.01, gt=0, lt=1, description="share of good pictures that the threshold may reject")
    seed: int = Field(default=0, ge=0)

    @field_validator("folds")
    @classmethod
    def _one_fold_leaves_nothing_to_train_on(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves nothing to train on: use 2 or more, or 0 to set pictures apart")
        return folds

    @property
    def input_shape(self) -> Shape:
        """Height and width in pixels that pictures are resized to."""
        return input_shape(self.input_size, self.tiles)


def recipe(name: RecipeName) -> dict[str, Any]:
    """Settings of a recipe by their names: Duet's own are the defaults, the paper's are training/presets/paper.toml."""
    if name == "duet":
        return {}
    return tomllib.loads((files("training") / "presets" / f"{name}.toml").read_text(encoding="utf-8"))
