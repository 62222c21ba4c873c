"""What a model file says of itself: the metadata of `model.onnx`, its validation, and the layout of a model repository.

Shared with training, which writes what the service reads. The contract is one JSON object under the ONNX metadata property
`duet`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

METADATA_KEY = "duet"
FORMAT_VERSION: Final = 1
MODEL_FILE = "model.onnx"
MAP_SIZE = 256
PATCH = 14  # pixels a side of what the teacher sees as one token

Branch = Literal["local", "semantic"]
ScoreName = Literal["local", "semantic", "joint"]
Precision = Literal["fp32", "fp16", "int8"]
VERSION = re.compile(r"[1-9][0-9]{0,8}")  # the name of its folder
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ModelName = Annotated[str, Field(pattern=f"^{MODEL_NAME.pattern}$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Shape = tuple[int, int]  # height and width in pixels
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

INPUT = "image"
JOINT_OUTPUTS = ("joint_probability", "joint_score")
BRANCH_OUTPUTS: dict[Branch, tuple[str, ...]] = {
    "local": ("local_score", "local_probability", "anomaly_map"),
    "semantic": ("semantic_score", "semantic_probability"),
}


class ModelFormatError(ValueError):
    """A model file that breaks the contract; the message names the file and what is wrong with it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sigmoid(_Strict):
    """Maps a raw score s to a probability sigmoid((s - tau) / sigma)."""

    tau: float = Field(allow_inf_nan=False)
    sigma: float = Field(gt=0, allow_inf_nan=False)


class Distribution(_Strict):
    """How often a probability fell between two edges: `counts[i]` times into [edges[i - 1], edges[i]), open at both ends."""

    edges: tuple[Probability, ...] = Field(min_length=1, description="ascending")
    counts: tuple[Annotated[int, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _bins_lie_side_by_side(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("the edges of a distribution must ascend")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(
                f"{len(self.edges)} edges make {len(self.edges) + 1} bins, but there are {len(self.counts)} counts"
            )
        return self


class Calibration(_Strict):
    """How raw scores become probabilities, fitted on held-out good images alone. An absent branch is None."""

    local: Sigmoid | None
    semantic: Sigmoid | None
    pixel: Sigmoid | None
    images: int = Field(gt=0, description="held-out good images that it was fitted on")
    reference: dict[ScoreName, Distribution] = Field(
        default_factory=dict, description="of their probabilities, from which drift is measured; empty if they were too few"
    )


class TeacherInfo(_Strict):
    """The frozen network that both students imitate."""

    source: str = Field(min_length=1, description="hub id, file name or 'compact'")
    sha256: Sha256 = Field(description="fingerprint of the weights")
    stand_in: bool = Field(description="true for the compact teacher, which stands in for DINOv2")


class TrainingData(_Strict):
    """What the students were taught on."""

    layout: str
    normal: tuple[str, ...] = Field(description="names of the normal classes, in the order of training")
    images: int = Field(gt=0)
    defects: Count = Field(default=0, description="labelled defects that joined the good pictures")
    fingerprint: Sha256 = Field(description="SHA-256 over the sorted digests of all training pictures")


class Parity(_Strict):
    """Largest difference between ONNX Runtime's scores and torch's, measured at export in float32, before any rounding."""

    max_abs_difference: float = Field(ge=0)
    batch_sizes: tuple[int, ...]


class Tiles(_Strict):
    """How a large picture is cut: rows x columns of square tiles, each sharing `overlap` pixels with its neighbours."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    overlap: int = Field(ge=0, multiple_of=PATCH, description="pixels; smaller than a tile")

    @model_validator(mode="after")
    def _one_tile_is_no_cut(self) -> Self:
        if self.count == 1:
            raise ValueError("one tile is the whole picture: leave tiles out")
        return self

    @property
    def count(self) -> int:
        """Tiles of a picture."""
        return self.rows * self.columns


class ModelMetadata(_Strict):
    """The JSON object under the metadata property `duet`."""

    format_version: Literal[1] = FORMAT_VERSION
    name: ModelName
    teacher: TeacherInfo
    branches: tuple[Branch, ...] = Field(min_length=1, max_length=2)
    input_size: int = Field(
        gt=0, multiple_of=PATCH, description="side S of one tile in pixels, and of the whole input where there are no tiles"
    )
    tiles: Tiles | None = Field(default=None, description="of a model for large pictures; null if it sees them whole")
    precision: Precision = Field(default="fp32", description="of the networks' arithmetic; int8 of their linear layers")
    calibration: Calibration
    threshold: Probability = Field(description="joint probability from which a picture is called anomalous")
    alpha: float = Field(gt=0, lt=1, description="share of good pictures that the threshold was set to reject")
    training_data: TrainingData
    metrics: dict[str, float] = Field(default_factory=dict, description="measured figures, e.g. 'image_auroc/joint'")
    parity: Parity
    created: datetime
    licence: str

    @model_validator(mode="after")
    def _branches_are_calibrated(self) -> Self:
        needed = {"local": (self.calibration.local, self.calibration.pixel), "semantic": (self.calibration.semantic,)}
        for branch in self.branches:
            if None in needed[branch]:
                raise ValueError(f"branch '{branch}' has no calibration")
        return self

    @model_validator(mode="after")
    def _tiles_overlap_in_part(self) -> Self:
        if self.tiles is not None and self.tiles.overlap >= self.input_size:
            raise ValueError(f"tiles of {self.input_size} pixels cannot overlap by {self.tiles.overlap}")
        return self

    @property
    def input_shape(self) -> Shape:
        """Height and width of the model's input in pixels."""
        return input_shape(self.input_size, self.tiles)

    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's output tensors for the branches present."""
        return tuple(name for branch in self.branches for name in BRANCH_OUTPUTS[branch]) + JOINT_OUTPUTS


def input_shape(size: int, tiles: Tiles | None) -> Shape:
    """Height and width in pixels of a picture that consists of these tiles of side `size`, or is one such square itself."""
    if tiles is None:
        return size, size
    step = size - tiles.overlap
    return size + (tiles.rows - 1) * step, size + (tiles.columns - 1) * step


def output_shape(output: str) -> tuple[int, ...]:
    """Shape of one picture's part of an output tensor."""
    return (MAP_SIZE, MAP_SIZE) if output == "anomaly_map" else ()


def score_threshold(threshold: float) -> float:
    """The joint score h = -log(1 - P) that a threshold on the joint probability stands for; never saturates, may be inf.

    Verdicts compare h, because the probability of a clear defect rounds to 1.
    """
    return math.inf if threshold >= 1.0 else -math.log1p(-threshold)


def parse_metadata(properties: Mapping[str, str], source: Path) -> ModelMetadata:
    """Validate the metadata properties of the model file `source`; raises ModelFormatError with the reason."""
    if METADATA_KEY not in properties:
        raise ModelFormatError(f"{source}: no metadata property '{METADATA_KEY}': not a Duet model; export one with duet-train")
    try:
        return ModelMetadata.model_validate_json(properties[METADATA_KEY])
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'metadata'}: {e['msg']}" for e in error.errors())
        raise ModelFormatError(f"{source}: bad metadata '{METADATA_KEY}': {reasons}") from error


def versions(models: Path, name: str) -> list[int]:
    """Version numbers of model `name` under the repository `models` that hold a model file, ascending."""
    folder = models / name
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if VERSION.fullmatch(path.name) and (path / MODEL_FILE).is_file())
