"""Open Inference Protocol v2: inference. Tensors or picture files in, the model's own tensors out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from ..access import limit_rate
from ..batcher import Inference
from ..disconnect import while_connected
from ..loaded_model import LoadedModel
from ..metering import MeteredRoute
from ..open_inference.compression import Coding, chosen_coding, compress, inflate
from ..open_inference.inference import infer
from ..open_inference.messages import InferRequest, InferResponse
from ..open_inference.model_tensors import Picture, read_outputs, read_pictures
from ..open_inference.wire import Output, read_message, write_answer
from ..openapi import json_body, protocol_errors
from ..progress import Progress
from ..reporting import report
from ..result_labels import Labels, ResultLabels
from ..runtime import runtime_of
from ..scoring_request import TimeoutHeader, begin
from ..settings import Settings
from ..uploads import read_body

router = APIRouter(tags=["open inference protocol"], prefix="/v2", route_class=MeteredRoute)

_LENGTH_HEADER = "Inference-Header-Content-Length"
_BINARY = "application/octet-stream"
_BYTES: dict[str, Any] = {_BINARY: {"schema": {"type": "string", "format": "binary"}}}
_BODY = json_body(InferRequest, required=True)
_BODY["requestBody"]["content"] |= _BYTES
_BODY["requestBody"]["description"] = (
    "JSON, or JSON and behind it the binary tensors, where the header says how long the JSON is. Content-Type is not looked at."
)
_ANSWERS: dict[str, Any] = {
    "response_model": InferResponse,
    "openapi_extra": _BODY,
    "responses": {
        200: {
            "description": "The outputs. If any is binary, the same JSON and behind it the binary outputs.",
            "content": _BYTES,
            "headers": {_LENGTH_HEADER: {"description": "of a binary answer: bytes of JSON", "schema": {"type": "integer"}}},
        },
        **protocol_errors(400, 401, 404, 413, 415, 422, 429, 500, 503, 504),
    },
    "dependencies": [Depends(limit_rate)],
}

LengthHeader = Annotated[
    str | None, Header(alias="inference-header-content-length", description="bytes of JSON; all of the body if absent")
]


@router.post("/models/{model}/infer", summary="Score pictures", **_ANSWERS)
async def infer_model(
    request: Request, model: str, labels: Labels, length: LengthHeader = None, timeout_ms: TimeoutHeader = None
) -> Response:
    """Score the pictures of one message, `image` or `encoded_image`, together with whatever else waits."""
    return await _infer(request, model, None, labels, length, timeout_ms)


@router.post("/models/{model}/versions/{version}/infer", summary="Score pictures with one version", **_ANSWERS)
async def infer_version(
    request: Request, model: str, version: str, labels: Labels, length: LengthHeader = None, timeout_ms: TimeoutHeader = None
) -> Response:
    """The same, by this version."""
    return await _infer(request, model, version, labels, length, timeout_ms)


@dataclass(frozen=True)
class _Call:
    """What a message asks for."""

    request: InferRequest
    pictures: list[Picture]
    outputs: list[Output]
    inflated_bytes: int  # that its pictures are views of, beside the body itself


async def _infer(
    request: Request, name: str, version: str | None, labels: ResultLabels, length: str | None, timeout_ms: int | None
) -> Response:
    progress, repository = begin(request, timeout_ms), runtime_of(request).repository
    request.state.model = repository.ensure_room(name, version)
    async with progress.within_deadline():
        body = await read_body(request, runtime_of(request).settings.max_bytes)
        progress.body_received()
        async with repository.use(name, version) as model:
            request.state.model = (model.name, model.version)
            with model.metrics.inflight_requests.track_inprogress():
                return await while_connected(request, _answer(request, model, body, labels, length, progress))


async def _answer(
    request: Request, model: LoadedModel, body: bytes, labels: ResultLabels, length: str | None, progress: Progress
) -> Response:
    runtime, headers = runtime_of(request), request.headers
    with model.batcher.admit(progress.deadline):  # a full queue refuses before anything is inflated or parsed
        call = await runtime.pictures.run(
            lambda: _read(body, headers.get("content-encoding", ""), length, model, runtime.settings)
        )
    progress.pictures = len(call.pictures)
    if call.request.parameters.timeout:
        progress.limit = min(progress.limit, call.request.parameters.timeout / 1e6)
    async with progress.within_deadline():
        copied = 0 if runtime.archive is None else sum(picture.nbytes for picture in call.pictures)
        with runtime.uploads.hold(call.inflated_bytes + copied):
            results = await infer(runtime, model, call.pictures, progress)
            for index, result in enumerate(results):
                report(runtime, f"{request.state.id}.{index}", labels, model, result.scored, result.file)
        inferences = [result.inference for result in results]
        coding = chosen_coding(headers.get("accept-encoding", ""))
        return await runtime.pictures.run(lambda: _write(call, model, inferences, coding))


def _read(body: bytes, coding: str, length: str | None, model: LoadedModel, settings: Settings) -> _Call:
    inflated = inflate(body, coding, settings.max_bytes)
    message = read_message(inflated, length)
    pictures = read_pictures(message, model.metadata, settings.max_queue)
    outputs = read_outputs(message.request, model.metadata, len(pictures))
    return _Call(message.request, pictures, outputs, 0 if inflated is body else len(inflated))


def _write(call: _Call, model: LoadedModel, inferences: list[Inference], coding: Coding | None) -> Response:
    answer = InferResponse(model_name=model.name, model_version=model.version, id=call.request.id, outputs=())
    content, json_length = write_answer(answer, call.outputs, inferences)
    headers = {} if json_length is None else {_LENGTH_HEADER: str(json_length)}
    if coding is not None:
        content, headers = compress(content, coding), headers | {"Content-Encoding": coding}
    return Response(content, headers=headers, media_type="application/json" if json_length is None else _BINARY)
