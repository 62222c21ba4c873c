"""POST /feedback: what people say of a result."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from ..access import client_name
from ..archive_format import Feedback
from ..errors import NoArchiveError
from ..open_inference.messages import parse_json
from ..openapi import json_body, problem_responses
from ..runtime import runtime_of
from ..schemas import FeedbackAnswer, FeedbackRequest
from ..scoring_request import begin
from ..uploads import read_body

router = APIRouter(tags=["results"])


@router.post(
    "/feedback",
    summary="Label a result",
    responses=problem_responses(400, 401, 404, 409, 413, 503, 504),
    openapi_extra=json_body(FeedbackRequest, required=True),
)
async def feedback(request: Request) -> FeedbackAnswer:
    """Keep the picture of a result with a label, for the next training. A later label replaces the one before.

    It takes `DUET_ARCHIVE`. Of good pictures the last ones alone are remembered, as many as `DUET_MAX_BYTES` hold.
    """
    runtime = runtime_of(request)
    if runtime.archive is None:
        raise NoArchiveError("no picture is kept: let DUET_ARCHIVE name a folder, and start the service anew")
    async with begin(request, None).within_deadline():
        asked = parse_json(FeedbackRequest, await read_body(request, runtime.settings.max_bytes))
        said = Feedback(label=asked.label, time=datetime.now(UTC), client=client_name(request))
        record = await runtime.archive.label(asked.id, said)
    return FeedbackAnswer(id=record.id, label=asked.label, anomalous=record.anomalous)
