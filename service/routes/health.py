"""Liveness, readiness and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from ..openapi import problem_responses
from ..runtime import runtime_of
from ..schemas import Health

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="Whether the process is of use", responses=problem_responses(503))
async def live(request: Request) -> Health:
    """503 where engines or threads have stopped or hang, which a restart mends: for whoever restarts, once it has lasted."""
    if defect := runtime_of(request).defect:
        raise defect
    return Health(status="live")


@router.get(
    "/health/ready",
    summary="Whether requests are answered",
    responses=problem_responses(503),
)
async def ready(request: Request) -> Health:
    """200 once the models are loaded and warm; 503 before that, and from the first sign of shutting down."""
    if fault := runtime_of(request).fault:
        raise fault
    return Health(status="ready")


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Every collector, in the text format that the client accepts."""
    encoder, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encoder(runtime_of(request).metrics.registry), media_type=content_type)
