"""Request and response models: the public contract."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from .model_format import ModelMetadata, Probability

HeatmapKind = Literal["none", "map", "overlay"]
Absent = SkipJsonSchema[None]  # what a query or a header cannot say but by leaving it out
HeatmapSize = Literal["model", "source"]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScoreQuery(_Schema):
    """Query parameters of a scoring request."""

    model: str | Absent = Field(None, description="name of the model; the service's default if absent")
    version: str | Absent = Field(None, description="version of the model; the one being served if absent")
    threshold: Probability | Absent = Field(
        None, description="joint probability from which the picture is anomalous; the model's own if absent"
    )
    heatmap: HeatmapKind = Field("map", description="`map`: a palette PNG; `overlay`: the picture under heat; `none`")
    heatmap_size: HeatmapSize = Field(
        "model", description="`model`: the model's own map size, square; `source`: that of the picture"
    )


class ModelReference(_Schema):
    """The model version that answered."""

    name: str
    version: str


class BranchScores(_Schema):
    """One number a branch; null for a branch that the model does not have."""

    local: float | None = Field(description="decoder student: small defects")
    semantic: float | None = Field(description="encoder student: the whole picture means something else")
    joint: float = Field(description="both, by Noisy-OR")


class ImageSize(_Schema):
    """Size of an upright picture in pixels."""

    width: int
    height: int


class Heatmap(_Schema):
    """A PNG. Of `map`, the palette index is round(255 * probability) of each pixel."""

    media_type: Literal["image/png"] = "image/png"
    width: int
    height: int
    data: str = Field(description="the PNG, base64")


class Timing(_Schema):
    """Milliseconds spent on this request."""

    decode: float
    queue: float
    inference: float
    heatmap: float
    total: float


class ScoreResponse(_Schema):
    """What one picture scored."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "5f0c6f0e9a7b4c8d8e2f1a3b4c5d6e7f",
                "model": {"name": "demo", "version": "1"},
                "scores": {"local": 0.93, "semantic": 0.08, "joint": 0.936},
                "raw": {"local": 0.211, "semantic": 0.043, "joint": 2.75},
                "threshold": 0.71,
                "anomalous": True,
                "image": {"width": 2448, "height": 2048},
                "heatmap": {"media_type": "image/png", "width": 256, "height": 256, "data": "iVBORw0KGgo="},
                "timing_ms": {"decode": 6.1, "queue": 1.9, "inference": 11.0, "heatmap": 1.2, "total": 20.4},
            }
        }
    )

    id: str = Field(description="the request's X-Request-ID")
    model: ModelReference
    scores: BranchScores = Field(description="calibrated probabilities")
    raw: BranchScores = Field(description="the model's own numbers; `joint` ranks pictures without ever saturating")
    threshold: float = Field(description="joint probability that was applied")
    anomalous: bool
    image: ImageSize
    heatmap: Heatmap | None = Field(description="null if none was asked for, or if the model has no local branch")
    timing_ms: Timing


class ProblemBody(_Schema):
    """RFC 9457 problem."""

    type: str = Field(description="stable identifier of the kind of problem", examples=["urn:duet:problem:too-many-pixels"])
    title: str
    status: int
    detail: str = Field(description="what is wrong with this request, and the remedy")
    instance: str = Field(description="path of the request")


class BatchScored(_Schema):
    """One picture of a batch, scored."""

    index: int = Field(ge=0, description="place of the picture in the form, from 0")
    filename: str | None = Field(description="as the form has it; null if it gives none")
    result: ScoreResponse = Field(description="what `/score` answers")


class BatchRefused(_Schema):
    """One picture of a batch, refused; the others are answered all the same."""

    index: int = Field(ge=0, description="place of the picture in the form, from 0")
    filename: str | None = Field(description="as the form has it; null if it gives none")
    error: ProblemBody = Field(description="what `/score` would have answered for this picture alone")


class BatchResponse(_Schema):
    """What the pictures of a batch scored."""

    id: str = Field(description="the request's X-Request-ID")
    model: ModelReference
    results: list[BatchScored | BatchRefused] = Field(description="one entry a picture, in the order of the form")


class ResultEvent(_Schema):
    """One scored picture, as `/events` tells of it."""

    number: int = Field(description="ascending from the start of the service; the event's id")
    id: str = Field(description="the request's X-Request-ID; of a batch or message, with `.INDEX` behind it")
    time: datetime
    model: ModelReference
    line: str | None = Field(description="the request's X-Duet-Line")
    station: str | None = Field(description="the request's X-Duet-Station")
    part: str | None = Field(description="the request's X-Duet-Part")
    scores: BranchScores
    raw: BranchScores
    threshold: float
    anomalous: bool
    image: ImageSize
    picture: str | None = Field(description="small JPEG, base64; null unless somebody listened with `pictures=true`")
    heatmap: str | None = Field(description="small palette PNG, base64, as of `heatmap=map`; null like `picture`")


class ServiceEvent(_Schema):
    """The first event that a listener gets."""

    archive: bool = Field(description="whether pictures are kept, and so whether `/feedback` takes labels")


class FeedbackRequest(_Schema):
    """What somebody says of a picture."""

    id: str = Field(max_length=200, description="the result's id, as `/events` and `/score` tell it")
    label: Literal["good", "bad"]


class FeedbackAnswer(_Schema):
    """Feedback that lies in the archive."""

    id: str
    label: Literal["good", "bad"]
    anomalous: bool = Field(description="what the model had said")


class LoadedVersion(_Schema):
    """A version in memory."""

    provider: str = Field(description="what computes, as DUET_PROVIDERS names it; `openvino-bf16` computes in bfloat16")
    sha256: str = Field(description="digest of the model file")
    bytes: int = Field(description="size of the model file, which counts against DUET_MAX_MODELS_MB")
    input: ImageSize = Field(description="what every picture is resized to, tiles and all")
    metadata: ModelMetadata = Field(description="what the model file says of itself")


class VersionEntry(_Schema):
    """One version on disk."""

    version: str
    state: Literal["ready", "on_demand", "not_loaded", "failed"] = Field(
        description="`on_demand`: out of memory until a request wants it; `not_loaded`: it answers no request"
    )
    reason: str | None = Field(description="why it is not ready, or why its file could not be read anew")
    loaded: LoadedVersion | None


class ModelEntry(_Schema):
    """One model of the repository."""

    name: str
    default: bool = Field(description="whether it answers requests that name no model")
    versions: list[VersionEntry] = Field(description="versions on disk, ascending; the highest one served is the default")


class ModelList(_Schema):
    """The model repository."""

    models: list[ModelEntry]


class Health(_Schema):
    """A state of the service that is well."""

    status: Literal["live", "ready"]
