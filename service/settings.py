"""Settings from the environment, prefix DUET_ (see the design, section 7)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .api_keys import ApiKey, parse_api_keys
from .cores import usable_cores

PREFIX = "DUET_"
LARGEST_BATCH = 8  # unless DUET_MAX_BATCH_SIZE says otherwise
_SECRET = {"DUET_API_KEYS"}  # a typing error there may show what nobody should read
Provider = Literal["tensorrt", "cuda", "openvino-bf16", "openvino", "cpu"]


class SettingsError(ValueError):
    """An unknown or invalid setting; the message is one line that names the variable and the remedy."""


class Settings(BaseSettings):
    """Every setting of the service. Times are in milliseconds, sizes in bytes or pixels."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    models: Path = Field(Path("models"), description="model repository: NAME/VERSION/model.onnx")
    default_model: str | None = Field(None, min_length=1, description="model served; without it the first by name")
    providers: Annotated[tuple[Provider, ...], NoDecode] = Field(
        ("cuda", "cpu"),
        min_length=1,
        description="what computes, best first: tensorrt, cuda, openvino-bf16, openvino, cpu, separated by commas",
    )
    require_cuda: bool = Field(False, description="refuse to start where the model would run on the CPU")
    device_id: Annotated[tuple[Annotated[int, Field(ge=0)], ...], NoDecode] = Field(
        (0,), min_length=1, description="number of the CUDA device; several, separated by commas, share one queue"
    )
    cuda_memory_mb: int = Field(0, ge=0, description="CUDA memory that one model takes at most; 0 is without limit")
    cuda_tf32: bool = Field(False, description="let CUDA round to TensorFloat-32: faster, but not quite training's scores")
    cuda_graphs: bool = Field(False, description="capture each batch size as a CUDA graph, of models that CUDA runs whole")
    tensorrt_cache: Path | None = Field(None, description="folder that TensorRT keeps its built engines in")
    intra_op_threads: int = Field(
        0, ge=0, description="CPU threads of one inference; 0 is as many as let two inferences share the cores"
    )
    max_models_mb: int = Field(
        0,
        ge=0,
        description="models in memory at most, by the size of their files; beyond it they load on demand; 0 is no limit",
    )
    max_batch_size: int | None = Field(
        None, ge=1, le=1024, description=f"images computed together at most; {LARGEST_BATCH}, or on a CPU its cores, if absent"
    )
    max_batch_delay_ms: float = Field(0.0, ge=0, le=10_000, description="how long a free engine waits for a fuller batch")
    max_queue: int = Field(64, ge=1, description="images being decoded or waiting for the engine at most")
    request_timeout_ms: int = Field(30_000, ge=1, description="deadline of a request that sets none, and the longest allowed")
    decode_threads: int = Field(
        default_factory=usable_cores, ge=1, description="threads that decode pictures and encode heatmaps"
    )
    max_bytes: int = Field(64 * 2**20, ge=1, description="size of a request's body at most")
    max_pixels: int = Field(50_000_000, ge=1, description="width times height of a picture at most")
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = Field(
        (), description="who may ask: NAME:SHA256 or NAME:SHA256:admin, separated by commas; everybody if unset"
    )
    rate_limit: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="scoring requests a second of each key, or address; 0 is no limit"
    )
    archive: Path | None = Field(
        None, description="folder that anomalous pictures, and those with feedback, are kept in; none are if unset"
    )
    archive_max_mb: int = Field(1000, ge=1, description="size of the archive at most; the oldest pictures go first")
    archive_max_days: int = Field(30, ge=1, description="days for which the archive keeps a picture at most")
    docs: bool = Field(True, description="whether /docs and /openapi.json are served")
    log_format: Literal["json", "console"] = Field("json", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe log line written")

    @field_validator("providers", "device_id", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip().lower() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("models", "archive", "tensorrt_cache", mode="before")
    @classmethod
    def _refuse_nothing(cls, value: Any) -> Any:
        if value == "":  # a Path would take it for the working directory
            raise ValueError("names no folder: name one, or leave the setting out")
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_api_keys(cls, value: Any) -> Any:
        return parse_api_keys(value) if isinstance(value, str) else value


def load_settings() -> Settings:
    """Settings from the process environment; raises SettingsError for an unknown or invalid DUET_ variable."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}: Duet knows {', '.join(sorted(known))}")
    try:
        return Settings()
    except ValidationError as error:
        first = {e["loc"][:1]: dict(e) for e in reversed(error.errors())}  # what follows from it says nothing new
        raise SettingsError("; ".join(_reason(e) for e in reversed(first.values()))) from error


def _reason(error: dict[str, Any]) -> str:
    location = error["loc"]
    name = PREFIX + str(location[0]).upper() if location else "settings"
    shown = name if name in _SECRET else f"{name}={error['input']}"
    return f"{shown}: {error['msg'].removeprefix('Value error, ')}"
