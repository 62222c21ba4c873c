"""The protocol's JSON objects, as Open Inference Protocol v2 and Triton's binary, repository and configuration extensions name
them. Unknown fields are forbidden; unknown inference parameters are ignored, as Triton ignores them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import MalformedBodyError, TooManyBytesError

MAX_JSON_BYTES = 4 * 2**20  # as Python objects it is up to fifty times as large, and made in one go
_MAX_INPUTS, _MAX_OUTPUTS, _MAX_DIMENSIONS = 16, 64, 8
_DETAILED_ERRORS = 3

Name = Annotated[str, Field(max_length=256)]
Size = Annotated[int, Field(ge=0, lt=2**63)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class InputParameters(_Parameters):
    """Parameters of an input tensor."""

    binary_data_size: Size | None = Field(None, description="bytes of this tensor behind the JSON")
    shared_memory_region: Name | None = Field(None, description="refused: Duet shares no memory")


class OutputParameters(_Parameters):
    """Parameters of a requested output."""

    binary_data: bool | None = Field(None, description="whether it comes behind the JSON; `binary_data_output` if absent")
    classification: Size = Field(0, description="refused unless 0: no output is a classification")
    shared_memory_region: Name | None = Field(None, description="refused: Duet shares no memory")


class RequestParameters(_Parameters):
    """Parameters of an inference request."""

    timeout: Annotated[int, Field(ge=0, lt=2**64)] = Field(
        0, description="deadline in microseconds; 0 sets none. The service's own is never exceeded"
    )
    binary_data_output: bool = Field(False, description="whether outputs come behind the JSON")
    sequence_id: int | Name = Field(0, description="refused unless 0: Duet keeps no state between requests")


class InputTensor(_Message):
    """An input: its values are `data`, or `binary_data_size` bytes behind the JSON."""

    name: Name
    shape: Annotated[tuple[Size, ...], Field(max_length=_MAX_DIMENSIONS)]
    datatype: Name
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(None, description="values in row-major order, flat or nested")


class RequestedOutput(_Message):
    """An output that is asked for."""

    name: Name
    parameters: OutputParameters = OutputParameters()


class InferRequest(_Message):
    """An inference request."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "part-17",
                "inputs": [
                    {"name": "encoded_image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 20480}}
                ],
                "outputs": [{"name": "joint_probability"}],
            }
        }
    )

    id: str | None = Field(None, description="echoed in the answer")
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[tuple[InputTensor, ...], Field(min_length=1, max_length=_MAX_INPUTS)]
    outputs: Annotated[tuple[RequestedOutput, ...], Field(max_length=_MAX_OUTPUTS)] = Field(
        (), description="every output of the model if absent or empty"
    )


class BinarySize(_Message):
    """Where an output lies: behind the JSON, in the order of `outputs`."""

    binary_data_size: int


class OutputTensor(_Message):
    """A computed output: its values are `data`, flat and row-major, or bytes behind the JSON."""

    name: str
    datatype: Literal["FP32"] = "FP32"
    shape: tuple[int, ...]
    parameters: BinarySize | None = None
    data: list[float] | None = None


class InferResponse(_Message):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: tuple[OutputTensor, ...]


class Live(_Message):
    """The process answers."""

    live: Literal[True] = True


class Ready(_Message):
    """The service answers inference requests."""

    ready: Literal[True] = True


class ModelReady(_Message):
    """This model answers inference requests."""

    name: str
    ready: Literal[True] = True


class ServerMetadata(_Message):
    """What serves."""

    name: Literal["duet"] = "duet"
    version: str
    extensions: tuple[str, ...]


class TensorMetadata(_Message):
    """One tensor of a model; -1 stands for the number of pictures."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelDescription(_Message):
    """A model's tensors."""

    name: str
    versions: tuple[str, ...]
    platform: Literal["onnx_onnxv1"] = "onnx_onnxv1"
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    parameters: dict[str, str] = Field(
        description="`alternative_*`: the input that may be sent in place of the one in `inputs`"
    )


class TensorConfig(_Message):
    """One tensor of a model, without the number of pictures."""

    name: str
    data_type: str
    dims: tuple[int, ...]


class ModelConfig(_Message):
    """The part of Triton's model configuration that means something here."""

    name: str
    backend: Literal["onnxruntime"] = "onnxruntime"
    max_batch_size: int = Field(description="pictures of one request at most")
    input: tuple[TensorConfig, ...]
    output: tuple[TensorConfig, ...]


class IndexRequest(_Message):
    """Which models to list."""

    ready: bool = Field(False, description="list those alone that answer requests")


class IndexEntry(_Message):
    """One version of a model in the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = Field(description="empty for a version that is ready")


class LoadParameters(_Message):
    """Duet takes neither a configuration nor files over HTTP: any other parameter is refused."""

    version: Name | None = Field(None, description="the highest on disk if absent")


class LoadRequest(_Message):
    """What to load."""

    parameters: LoadParameters = LoadParameters()


class UnloadParameters(_Message):
    """What Triton's clients send, and a version."""

    version: Name | None = Field(None, description="every loaded version if absent")
    unload_dependents: bool = Field(False, description="without effect: no model depends on another")


class UnloadRequest(_Message):
    """What to unload."""

    parameters: UnloadParameters = UnloadParameters()


class ErrorBody(_Message):
    """Any answer of the protocol that is not a success."""

    error: str = Field(description="what is wrong with this request, and the remedy")


M = TypeVar("M", bound=BaseModel)


def parse_json(kind: type[M], raw: bytes) -> M:
    """Validate the JSON of a message; raises MalformedBodyError, or TooManyBytesError over MAX_JSON_BYTES."""
    if len(raw) > MAX_JSON_BYTES:
        raise TooManyBytesError(
            f"the JSON has {len(raw)} bytes, the limit is {MAX_JSON_BYTES}: send tensors as binary data, behind the JSON"
        )
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise MalformedBodyError(_reason(error)) from error


def _reason(error: ValidationError) -> str:
    """The first few of the errors, of which a hostile message has millions."""
    count = error.error_count()
    if count > 1000 * _DETAILED_ERRORS:
        return f"the message has {count} errors: it does not follow the protocol at all"
    details = error.errors(include_url=False, include_context=False, include_input=False)[:_DETAILED_ERRORS]
    reason = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'message'}: {e['msg']}" for e in details)
    return reason if count <= _DETAILED_ERRORS else f"{reason}; and {count - _DETAILED_ERRORS} more"
