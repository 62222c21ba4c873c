"""POST /score: one picture in, its scores and heatmap out."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from ..access import limit_rate
from ..disconnect import while_connected
from ..errors import BadParameterError
from ..loaded_model import LoadedModel
from ..metering import MeteredRoute, TimeoutHeader, start
from ..openapi import problem_responses
from ..progress import Progress
from ..runtime import runtime_of
from ..schemas import BranchScores, Heatmap, ImageSize, ModelReference, ScoreQuery, ScoreResponse, Timing
from ..scoring import HeatmapImage, Scored, ScoreOptions, score_image
from ..uploads import FIELD, read_image

router = APIRouter(tags=["score"], route_class=MeteredRoute)

_PNG = "image/png"
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
            "description": "The scores. With `Accept: image/png` the heatmap itself, and the scores as `X-Duet-*` headers.",
            "content": {_PNG: _PICTURE},
        },
        **problem_responses(400, 401, 404, 413, 415, 422, 429, 500, 503, 504),
    },
    openapi_extra={"requestBody": _REQUEST_BODY},
    dependencies=[Depends(limit_rate)],
)
async def score(
    request: Request,
    query: Annotated[ScoreQuery, Query()],
    accept: Annotated[str, Header(description="`image/png` alone answers the heatmap itself")] = "*/*",
    timeout_ms: TimeoutHeader = None,
) -> Response:
    """Decode the picture, score it together with whatever else waits, and answer probabilities, raw scores and a heatmap."""
    runtime = runtime_of(request)
    progress = start(request, timeout_ms)
    options = ScoreOptions(query.threshold, query.heatmap, query.heatmap_size)
    request.state.model = runtime.repository.ensure_room(query.model, query.version)
    async with progress.within_deadline():
        data = await read_image(request, runtime.settings.max_bytes)
        # Only now, so that a slow sender keeps no model from being unloaded.
        async with runtime.repository.use(query.model, query.version) as model:
            request.state.model = (model.name, model.version)
            as_png = _wants_png(accept)
            if as_png and (query.heatmap == "none" or "local" not in model.metadata.branches):
                raise BadParameterError(
                    "Accept: image/png asks for a heatmap, which heatmap=none or a model without local branch has not"
                )
            with model.metrics.inflight_requests.track_inprogress():
                scored = await while_connected(request, score_image(runtime, model, data, options, progress))
    if as_png and scored.heatmap:
        return Response(scored.heatmap.png, media_type=_PNG, headers=_headers(model, scored))
    answer = _answer(request.state.id, model, scored, progress)
    return Response(answer.model_dump_json(), media_type="application/json")


def _wants_png(accept: str) -> bool:
    types = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    return _PNG in types and types.isdisjoint({"application/json", "*/*"})


def _answer(request_id: str, model: LoadedModel, scored: Scored, progress: Progress) -> ScoreResponse:
    milliseconds = {
        stage: round(1000 * progress.seconds.get(stage, 0.0), 3) for stage in ("decode", "queue", "inference", "heatmap")
    }
    return ScoreResponse(
        id=request_id,
        model=ModelReference(name=model.name, version=model.version),
        scores=scored.probabilities,
        raw=scored.raw,
        threshold=scored.threshold,
        anomalous=scored.anomalous,
        image=ImageSize(width=scored.width, height=scored.height),
        heatmap=_heatmap(scored.heatmap) if scored.heatmap else None,
        timing_ms=Timing(**milliseconds, total=round(1000 * progress.total, 3)),
    )


def _heatmap(image: HeatmapImage) -> Heatmap:
    return Heatmap(width=image.width, height=image.height, data=base64.b64encode(image.png).decode())


def _headers(model: LoadedModel, scored: Scored) -> dict[str, str]:
    headers = {
        "X-Duet-Model": model.name,
        "X-Duet-Version": model.version,
        "X-Duet-Threshold": str(scored.threshold),
        "X-Duet-Anomalous": str(scored.anomalous).lower(),
        "X-Duet-Image-Width": str(scored.width),
        "X-Duet-Image-Height": str(scored.height),
    }
    return headers | _score_headers(scored.probabilities, "Probability") | _score_headers(scored.raw, "Score")


def _score_headers(scores: BranchScores, kind: str) -> dict[str, str]:
    return {f"X-Duet-{branch.title()}-{kind}": str(value) for branch, value in scores if value is not None}
