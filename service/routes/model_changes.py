"""Open Inference Protocol v2: models loaded and unloaded while the service runs."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from ..access import require_admin
from ..open_inference.messages import LoadRequest, UnloadRequest, parse_json
from ..openapi import json_body, protocol_errors
from ..runtime import runtime_of
from ..scoring_request import begin
from ..uploads import read_body

router = APIRouter(
    tags=["open inference protocol"],
    prefix="/v2/repository/models",
    dependencies=[Depends(require_admin)],
)


@router.post(
    "/{model}/load",
    summary="Load a version of a model",
    response_class=Response,
    responses=protocol_errors(400, 401, 403, 404, 409, 413, 422, 500, 504),
    openapi_extra=json_body(LoadRequest),
)
async def load(request: Request, model: str) -> Response:
    """Load, check and warm it, then let it answer; one that is loaded already is replaced once the new one is warm."""
    runtime = runtime_of(request)
    async with begin(request, None).within_deadline():
        body = await read_body(request, runtime.settings.max_bytes)
    asked = await runtime.pictures.run(lambda: parse_json(LoadRequest, body or b"{}"))
    await runtime.repository.load(model, asked.parameters.version)
    return Response()


@router.post(
    "/{model}/unload",
    summary="Unload a model",
    response_class=Response,
    responses=protocol_errors(400, 401, 403, 404, 409, 413, 422, 500, 504),
    openapi_extra=json_body(UnloadRequest),
)
async def unload(request: Request, model: str) -> Response:
    """Take it out of service; what it has accepted is computed first."""
    runtime = runtime_of(request)
    async with begin(request, None).within_deadline():
        body = await read_body(request, runtime.settings.max_bytes)
    asked = await runtime.pictures.run(lambda: parse_json(UnloadRequest, body or b"{}"))
    await runtime.repository.unload(model, asked.parameters.version)
    return Response()
