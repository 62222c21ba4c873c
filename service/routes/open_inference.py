"""Open Inference Protocol v2: what serves, which models there are, whether they are ready."""

from __future__ import annotations

from importlib.metadata import version as installed_version

from fastapi import APIRouter, Request

from ..errors import DrainingError, NoModelError
from ..open_inference.messages import (
    IndexEntry,
    IndexRequest,
    Live,
    ModelConfig,
    ModelDescription,
    ModelReady,
    Ready,
    ServerMetadata,
    parse_json,
)
from ..open_inference.model_tensors import configure, describe
from ..openapi import json_body, protocol_errors
from ..runtime import runtime_of
from ..scoring_request import begin
from ..stored_models import State, StoredModel, StoredVersion
from ..uploads import read_body
from . import health

router = APIRouter(tags=["open inference protocol"], prefix="/v2")
health_router = APIRouter(tags=["open inference protocol"], prefix="/v2/health")

_REASONS: dict[State, str] = {"ready": "", "on_demand": "", "not_loaded": "not loaded", "failed": "failed"}
_EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository")


@router.get("", summary="What serves")
async def server_metadata() -> ServerMetadata:
    """Name and version, and the extensions of the protocol that are supported."""
    return ServerMetadata(version=installed_version("duet"), extensions=_EXTENSIONS)


@health_router.get("/live", summary="Whether the process is of use", responses=protocol_errors(503))
async def live(request: Request) -> Live:
    """As `GET /health/live`."""
    await health.live(request)
    return Live()


@health_router.get("/ready", summary="Whether requests are answered", responses=protocol_errors(503))
async def ready(request: Request) -> Ready:
    """As `GET /health/ready`."""
    await health.ready(request)
    return Ready()


@router.get("/models/{model}", summary="A model's tensors", responses=protocol_errors(401, 404, 422, 503))
async def model_metadata(request: Request, model: str) -> ModelDescription:
    """Inputs and outputs of the version that answers."""
    return await _describe(request, model, None)


@router.get("/models/{model}/versions/{version}", summary="A version's tensors", responses=protocol_errors(401, 404, 422, 503))
async def version_metadata(request: Request, model: str, version: str) -> ModelDescription:
    """Inputs and outputs of this version."""
    return await _describe(request, model, version)


@router.get("/models/{model}/ready", summary="Whether a model answers", responses=protocol_errors(401, 404, 422, 503))
async def model_ready(request: Request, model: str) -> ModelReady:
    """200 if it does."""
    return _check_ready(request, model, None)


@router.get(
    "/models/{model}/versions/{version}/ready",
    summary="Whether a version answers",
    responses=protocol_errors(401, 404, 422, 503),
)
async def version_ready(request: Request, model: str, version: str) -> ModelReady:
    """200 if it does."""
    return _check_ready(request, model, version)


@router.get("/models/{model}/config", summary="A model's configuration", responses=protocol_errors(401, 404, 422, 503))
async def model_config(request: Request, model: str) -> ModelConfig:
    """What Triton's load generators ask for: tensors, and how many pictures a request may hold."""
    return await _configure(request, model, None)


@router.get(
    "/models/{model}/versions/{version}/config",
    summary="A version's configuration",
    responses=protocol_errors(401, 404, 422, 503),
)
async def version_config(request: Request, model: str, version: str) -> ModelConfig:
    """The same of this version."""
    return await _configure(request, model, version)


@router.post(
    "/repository/index",
    summary="Every version of every model",
    responses=protocol_errors(400, 401, 413, 504),
    openapi_extra=json_body(IndexRequest),
)
async def index(request: Request) -> list[IndexEntry]:
    """What lies on disk, and which of it answers."""
    runtime = runtime_of(request)
    async with begin(request, None).within_deadline():
        body = await read_body(request, runtime.settings.max_bytes)
    asked = await runtime.pictures.run(lambda: parse_json(IndexRequest, body or b"{}"))
    entries = [entry for stored in await runtime.repository.index() for entry in _entries(stored)]
    return [entry for entry in entries if entry.state == "READY" or not asked.ready]


async def _describe(request: Request, name: str, version: str | None) -> ModelDescription:
    async with runtime_of(request).repository.use(name, version) as model:
        return describe(model.name, model.version, model.metadata)


def _check_ready(request: Request, name: str, version: str | None) -> ModelReady:
    runtime = runtime_of(request)
    stored = runtime.repository.served(name, version)
    if runtime.draining:
        raise DrainingError("the service is shutting down")
    if stored.state == "failed":
        raise NoModelError(f"version '{stored.version}' of model '{name}' does not answer: {stored.reason}")
    return ModelReady(name=name)


async def _configure(request: Request, name: str, version: str | None) -> ModelConfig:
    runtime = runtime_of(request)
    async with runtime.repository.use(name, version) as model:
        return configure(model.name, model.metadata, runtime.settings.max_queue)


def _entries(model: StoredModel) -> list[IndexEntry]:
    return [_entry(model.name, stored) for stored in model.versions]


def _entry(name: str, stored: StoredVersion) -> IndexEntry:
    """What is out of memory until a request wants it counts as ready."""
    ready = stored.state in ("ready", "on_demand")
    return IndexEntry(
        name=name,
        version=stored.version,
        state="READY" if ready else "UNAVAILABLE",
        reason=stored.reason or _REASONS[stored.state],
    )
