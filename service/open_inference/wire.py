"""The bytes of an inference request and of its answer: a JSON object, behind it the binary tensors in its order."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..batcher import Inference
from ..errors import InferenceError, MalformedBodyError, UnsupportedExtensionError
from .messages import BinarySize, InferRequest, InferResponse, OutputTensor, parse_json
from .tensors import fp32_json, fp32_rows


@dataclass(frozen=True)
class Message:
    """An inference request. `binary` holds a view of the bytes of each input that has any behind the JSON, else None."""

    request: InferRequest
    binary: tuple[memoryview | None, ...]


@dataclass(frozen=True)
class Output:
    """An output to be answered, and whether as binary data."""

    name: str
    binary: bool


def read_message(body: bytes, header_length: str | None) -> Message:
    """Take a request apart; `header_length` is Inference-Header-Content-Length, without which all of it is JSON.

    Raises MalformedBodyError, UnsupportedExtensionError, or TooManyBytesError for the JSON.
    """
    length = len(body) if header_length is None else _parse_length(header_length, len(body))
    request = parse_json(InferRequest, body[:length])
    _refuse_extensions(request)
    return Message(request, _binary_parts(request, memoryview(body)[length:]))


def write_answer(answer: InferResponse, outputs: list[Output], inferences: list[Inference]) -> tuple[bytes, int | None]:
    """`answer` with these outputs in place, and the length of its JSON if binary data follow; copies each of those once.

    Raises InferenceError for a number that JSON cannot hold.
    """
    tensors: list[OutputTensor] = []
    parts: list[memoryview] = []
    for output in outputs:
        rows = fp32_rows([inference.outputs[output.name] for inference in inferences])
        shape = (len(rows), *rows[0].shape)
        if output.binary:
            size = BinarySize(binary_data_size=sum(row.nbytes for row in rows))
            tensors.append(OutputTensor(name=output.name, shape=shape, parameters=size))
            parts += [row.data for row in rows]
        else:
            if not all(np.isfinite(row).all() for row in rows):
                raise InferenceError(f"output '{output.name}' of these pictures holds a number that is not finite")
            tensors.append(OutputTensor(name=output.name, shape=shape, data=fp32_json(rows)))
    json = answer.model_copy(update={"outputs": tuple(tensors)}).model_dump_json(exclude_none=True).encode()
    return (b"".join([json, *parts]), len(json)) if parts else (json, None)


def _parse_length(value: str, available: int) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", value) or int(value) > available:
        raise MalformedBodyError(
            f"Inference-Header-Content-Length '{value[:20]}' is not the length of a JSON that {available} bytes can begin with"
        )
    return int(value)


def _refuse_extensions(request: InferRequest) -> None:
    regions = {tensor.parameters.shared_memory_region for tensor in request.inputs}
    if regions | {output.parameters.shared_memory_region for output in request.outputs} != {None}:
        raise UnsupportedExtensionError("shared memory is not supported: send and receive tensors in the body")
    if any(output.parameters.classification for output in request.outputs):
        raise UnsupportedExtensionError("the classification extension is not supported: ask for the output itself")
    if request.parameters.sequence_id not in (0, ""):
        raise UnsupportedExtensionError("sequences are not supported: each picture is scored by itself")


def _binary_parts(request: InferRequest, rest: memoryview) -> tuple[memoryview | None, ...]:
    parts: list[memoryview | None] = []
    position = 0
    for tensor in request.inputs:
        size = tensor.parameters.binary_data_size
        if (size is None) == (tensor.data is None):
            raise MalformedBodyError(f"input '{tensor.name}' must have either data or the parameter binary_data_size")
        if size is None:
            parts.append(None)
            continue
        if size > len(rest) - position:
            raise MalformedBodyError(
                f"input '{tensor.name}' says that it has {size} bytes of binary data, but {len(rest) - position} are left: "
                "is Inference-Header-Content-Length the length of the JSON?"
            )
        parts.append(rest[position : position + size])
        position += size
    if position != len(rest):
        raise MalformedBodyError(f"{len(rest) - position} bytes follow the last input's binary data")
    return tuple(parts)
