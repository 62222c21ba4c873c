"""A model's tensors in the protocol's terms: what it takes, what it answers, and what of a request is its input."""

from __future__ import annotations

import math

from ..errors import BadTensorError
from ..images import Pixels
from ..model_format import INPUT, ModelMetadata, output_shape
from .messages import InferRequest, InputTensor, ModelConfig, ModelDescription, TensorConfig, TensorMetadata
from .tensors import bytes_from_binary, uint8_from_binary, uint8_from_json
from .wire import Message, Output

ENCODED_INPUT = "encoded_image"
MAX_JSON_VALUES = 2**20  # sixteen maps; to write more holds up every other request

Picture = Pixels | memoryview  # model input [H, W, 3], or the bytes of a picture file


def describe(name: str, version: str, metadata: ModelMetadata) -> ModelDescription:
    """The metadata answer."""
    return ModelDescription(
        name=name,
        versions=(version,),
        inputs=(TensorMetadata(name=INPUT, datatype="UINT8", shape=(-1, *_input_shape(metadata))),),
        outputs=tuple(
            TensorMetadata(name=output, datatype="FP32", shape=(-1, *output_shape(output))) for output in metadata.outputs()
        ),
        parameters={
            "alternative_input": ENCODED_INPUT,
            "alternative_datatype": "BYTES",
            "alternative_shape": "[-1] or [-1, 1]",
            "alternative_meaning": "JPEG, PNG, BMP, TIFF or WebP files of any size, decoded and resized as POST /score does",
        },
    )


def configure(name: str, metadata: ModelMetadata, max_pictures: int) -> ModelConfig:
    """The model configuration, of which a request holds at most `max_pictures`."""
    return ModelConfig(
        name=name,
        max_batch_size=max_pictures,
        input=(TensorConfig(name=INPUT, data_type="TYPE_UINT8", dims=_input_shape(metadata)),),
        output=tuple(
            TensorConfig(name=output, data_type="TYPE_FP32", dims=output_shape(output)) for output in metadata.outputs()
        ),
    )


def read_pictures(message: Message, metadata: ModelMetadata, most: int) -> list[Picture]:
    """The pictures of a request, 1 to `most`, as views of its bytes; raises BadTensorError."""
    if len(message.request.inputs) != 1:
        names = [tensor.name for tensor in message.request.inputs]
        raise BadTensorError(f"inputs are {names}: send exactly one of '{INPUT}' and '{ENCODED_INPUT}'")
    (tensor,), (binary,) = message.request.inputs, message.binary
    if tensor.name == INPUT:
        _check(tensor, "UINT8", most, [("N", *_input_shape(metadata))])
        if binary is not None:
            return list(uint8_from_binary(INPUT, tensor.shape, binary))
        return list(uint8_from_json(INPUT, tensor.shape, tensor.data or []))
    if tensor.name == ENCODED_INPUT:
        _check(tensor, "BYTES", most, [("N",), ("N", 1)])
        if binary is None:
            raise BadTensorError(f"input '{ENCODED_INPUT}' holds bytes, which JSON cannot: send it as binary data")
        return [*bytes_from_binary(ENCODED_INPUT, tensor.shape[0], binary)]
    raise BadTensorError(f"the model has no input '{tensor.name}': send '{INPUT}', or '{ENCODED_INPUT}' in its place")


def read_outputs(request: InferRequest, metadata: ModelMetadata, pictures: int) -> list[Output]:
    """The outputs to answer for so many pictures, in the order asked for.

    Raises BadTensorError for unknown or repeated ones, and for more than MAX_JSON_VALUES numbers as JSON.
    """
    outputs = _chosen_outputs(request, metadata)
    values = pictures * sum(math.prod(output_shape(output.name)) for output in outputs if not output.binary)
    if values > MAX_JSON_VALUES:
        raise BadTensorError(
            f"{values} numbers as JSON are over the limit of {MAX_JSON_VALUES}: ask for outputs as binary data"
        )
    return outputs


def _chosen_outputs(request: InferRequest, metadata: ModelMetadata) -> list[Output]:
    as_binary = request.parameters.binary_data_output
    if not request.outputs:
        return [Output(name, as_binary) for name in metadata.outputs()]
    names = [output.name for output in request.outputs]
    if unknown := sorted(set(names) - set(metadata.outputs())):
        raise BadTensorError(f"the model has no output {unknown}, but {list(metadata.outputs())}")
    if len(set(names)) != len(names):
        raise BadTensorError(f"outputs are {names}: ask for each once")
    return [
        Output(output.name, as_binary if output.parameters.binary_data is None else output.parameters.binary_data)
        for output in request.outputs
    ]


def _check(tensor: InputTensor, datatype: str, most: int, shapes: list[tuple[int | str, ...]]) -> None:
    """`shapes` are those accepted, N standing for the number of pictures."""
    if tensor.datatype != datatype:
        raise BadTensorError(f"input '{tensor.name}' has datatype '{tensor.datatype}', but must have {datatype}")
    count, *rest = tensor.shape or (0,)
    if not any(list(shape[1:]) == rest for shape in shapes) or not count:
        accepted = " or ".join(f"[{', '.join(map(str, shape))}]" for shape in shapes)
        raise BadTensorError(f"input '{tensor.name}' has shape {list(tensor.shape)}, but must have {accepted}, N at least 1")
    if count > most:
        raise BadTensorError(f"{count} pictures never fit into the queue of {most} (DUET_MAX_QUEUE): send fewer at a time")


def _input_shape(metadata: ModelMetadata) -> tuple[int, int, int]:
    return (*metadata.input_shape, 3)
