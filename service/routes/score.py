"""POST /score: one picture in, its scores and heatmap out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from ..access import limit_rate
from ..answers import score_answer, score_headers
from ..content_negotiation import JSON, PNG, preferred
from ..disconnect import while_connected
from ..errors import BadParameterError, NotAcceptableError
from ..loaded_model import LoadedModel
from ..metering import MeteredRoute
from ..openapi import problem_responses
from ..reporting import report
from ..result_labels import Labels
from ..runtime import runtime_of
from ..schemas import ScoreQuery, ScoreResponse
from ..scoring import score_image
from ..scoring_request import AcceptHeader, TimeoutHeader, begin, options_of
from ..uploads import FIELD, read_image

router = APIRouter(tags=["score"], route_class=MeteredRoute)

_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "JPEG, PNG, BMP, TIFF or WebP: the file itself, or a form with the one field `image`.",
    "content": {
        "image/*": _PICTURE,
        "application/octet-stream": _PICTURE,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {FIELD: {"type": "string", "format": "binary"}},
            }
        },
    },
}


@router.post(
    "/score",
    summary="Score one picture",
    response_model=ScoreResponse,
    responses={
        200: {
            "description": "The scores. Where the Accept header prefers `image/png`, the heatmap itself, and the scores as "
            "`X-Duet-*` headers.",
            "content": {PNG: _PICTURE},
        },
        **problem_responses(400, 401, 404, 406, 413, 415, 422, 429, 500, 503, 504),
    },
    openapi_extra={"requestBody": _REQUEST_BODY},
    dependencies=[Depends(limit_rate)],
)
async def score(
    request: Request,
    query: Annotated[ScoreQuery, Query()],
    labels: Labels,
    accept: AcceptHeader = "*/*",
    timeout_ms: TimeoutHeader = None,
) -> Response:
    """Decode the picture, score it together with whatever else waits, and answer probabilities, raw scores and a heatmap."""
    runtime = runtime_of(request)
    progress = begin(request, timeout_ms)
    request.state.model = runtime.repository.ensure_room(query.model, query.version)
    async with progress.within_deadline():
        data = await read_image(request, runtime.settings.max_bytes)
        progress.body_received()
        # Only now, so that a slow sender keeps no model from being unloaded.
        async with runtime.repository.use(query.model, query.version) as model:
            request.state.model = (model.name, model.version)
            media_type = _media_type(accept, query, model)
            with model.metrics.inflight_requests.track_inprogress():
                scored = await while_connected(request, score_image(runtime, model, data, options_of(query), progress))
    report(runtime, request.state.id, labels, model, scored, data)
    if media_type == PNG and scored.heatmap:
        return Response(scored.heatmap.png, media_type=PNG, headers=score_headers(model, scored))
    answer = score_answer(request.state.id, model, scored, progress)
    return Response(answer.model_dump_json(), media_type=JSON)


def _media_type(accept: str, query: ScoreQuery, model: LoadedModel) -> str:
    if query.heatmap != "none" and "local" in model.metadata.branches:
        return preferred(accept, (JSON, PNG))
    try:
        return preferred(accept, (JSON,))
    except NotAcceptableError:
        preferred(accept, (JSON, PNG))
        raise BadParameterError(
            "Accept: image/png asks for a heatmap, which heatmap=none or a model without local branch has not"
        ) from None
