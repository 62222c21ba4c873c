"""POST /score/batch: many pictures in, an entry for each out, together or line by line as they are done."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from ..access import limit_rate
from ..answers import score_answer
from ..content_negotiation import JSON, JSON_LINES, preferred
from ..disconnect import while_connected
from ..errors import AnswerTooLargeError, problem_body
from ..json_lines import JsonLinesResponse
from ..loaded_model import LoadedModel
from ..metering import MeteredRoute, count_refused_image
from ..openapi import problem_responses
from ..paced_scoring import pace, score_paced
from ..progress import Progress
from ..reporting import report
from ..result_labels import Labels, ResultLabels
from ..runtime import runtime_of
from ..schemas import BatchRefused, BatchResponse, BatchScored, ModelReference, ScoreQuery, ScoreResponse
from ..scoring import ScoreOptions, score_image
from ..scoring_request import AcceptHeader, TimeoutHeader, begin, options_of
from ..uploads import FIELD, Upload, read_images

Entry = BatchScored | BatchRefused

router = APIRouter(tags=["score"], route_class=MeteredRoute)

MAX_IMAGES = 256
_HEATMAP_FACTOR = 4  # a JSON answer is held in memory whole: its heatmaps have this many times DUET_MAX_BYTES
_GRACE_SECONDS = 5  # after the deadline, for a slow client to take the lines that say so
_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "A form whose fields are all named `image`: JPEG, PNG, BMP, TIFF or WebP, with a filename or without.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {
                    FIELD: {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_IMAGES,
                        "items": {"type": "string", "format": "binary"},
                    }
                },
            }
        },
    },
}
_LINES = {"schema": {"type": "string", "description": "One entry of `results` a line, in order of completion."}}


@router.post(
    "/score/batch",
    summary="Score many pictures",
    response_model=BatchResponse,
    responses={
        200: {
            "description": "An entry for each picture, in order. Where the Accept header prefers `application/x-ndjson`, "
            "entries are lines, sent as they are done.",
            "content": {JSON_LINES: _LINES},
        },
        **problem_responses(400, 401, 404, 406, 413, 415, 422, 429, 500, 503, 504),
    },
    openapi_extra={"requestBody": _REQUEST_BODY},
    dependencies=[Depends(limit_rate)],
)
async def score_batch(
    request: Request,
    query: Annotated[ScoreQuery, Query()],
    labels: Labels,
    accept: AcceptHeader = "*/*",
    timeout_ms: TimeoutHeader = None,
) -> Response:
    """Score each picture as `/score` does. One that is refused is an entry with an `error`, and the others are answered.

    Each result has an `id` of its own, the request's and its index: `ID.0`, `ID.1`, by which `/events` and `/feedback` know it.

    A request has at most 256 pictures, and never takes more than half of the queue: the next picture goes in when one is
    done. If other requests have filled the queue, a picture waits for the next one of its own request to be done; with none
    on its way it is refused as `queue-full`. The deadline covers all of them; those it overtakes are `deadline-passed`.
    """
    runtime = runtime_of(request)
    progress = begin(request, timeout_ms)
    media_type = preferred(accept, (JSON, JSON_LINES))
    async with contextlib.AsyncExitStack() as held:
        request.state.model = runtime.repository.find(query.model, query.version)
        async with progress.within_deadline():
            uploads = await read_images(request, runtime.settings.max_bytes, MAX_IMAGES)
            progress.body_received()
            progress.pictures = len(uploads)
            model = await held.enter_async_context(runtime.repository.use(query.model, query.version))
        request.state.model = (model.name, model.version)
        held.enter_context(model.metrics.inflight_requests.track_inprogress())
        progress.stage = "batch"
        options, limit = options_of(query), _HEATMAP_FACTOR * runtime.settings.max_bytes
        batch = _Batch(request, model, uploads, options, labels, math.inf if media_type == JSON_LINES else limit)
        if media_type == JSON_LINES:
            return JsonLinesResponse(request, batch.score, progress.limit - progress.total + _GRACE_SECONDS, held.pop_all())
        entries: list[Entry] = []

        async def collect(entry: Entry) -> None:
            entries.append(entry)

        await while_connected(request, batch.score(collect))
    answer = BatchResponse(
        id=request.state.id,
        model=ModelReference(name=model.name, version=model.version),
        results=sorted(entries, key=lambda entry: entry.index),
    )
    return Response(answer.model_dump_json(), media_type=JSON)


@dataclass
class _Batch:
    """The pictures of one request, and what is left of the room for their heatmaps."""

    request: Request
    model: LoadedModel
    uploads: list[Upload]
    options: ScoreOptions
    labels: ResultLabels
    heatmap_bytes_left: float

    async def score(self, take: Callable[[Entry], Awaitable[None]]) -> None:
        """Give `take` the entry of each picture as it is done."""

        async def finish(index: int, outcome: ScoreResponse | Exception) -> None:
            await take(self._entry(index, outcome))

        await score_paced(len(self.uploads), pace(runtime_of(self.request).settings), self._score_one, finish)

    async def _score_one(self, index: int) -> ScoreResponse:
        progress: Progress = self.request.state.progress.of_image()
        async with progress.within_deadline():
            data = self.uploads[index].data
            scored = await score_image(runtime_of(self.request), self.model, data, self.options, progress)
        result_id = f"{self.request.state.id}.{index}"
        report(runtime_of(self.request), result_id, self.labels, self.model, scored, data)
        answer = score_answer(result_id, self.model, scored, progress)
        if answer.heatmap:
            self.heatmap_bytes_left -= len(answer.heatmap.data)
        if self.heatmap_bytes_left < 0:
            raise AnswerTooLargeError(
                f"the heatmaps of this answer exceed {_HEATMAP_FACTOR} times DUET_MAX_BYTES: take them with "
                f"heatmap_size=model, or line by line with Accept: {JSON_LINES}"
            )
        return answer

    def _entry(self, index: int, outcome: ScoreResponse | Exception) -> Entry:
        filename = self.uploads[index].filename
        if isinstance(outcome, ScoreResponse):
            return BatchScored(index=index, filename=filename, result=outcome)
        count_refused_image(self.request, outcome)
        return BatchRefused(index=index, filename=filename, error=problem_body(self.request, outcome))
