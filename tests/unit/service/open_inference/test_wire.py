"""Bytes to messages and back: what Triton's client writes is read, what it reads is written, and nothing else gets through."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.batcher import Inference
from service.errors import InferenceError, MalformedBodyError, ServiceError, TooManyBytesError, UnsupportedExtensionError
from service.images import Pixels
from service.open_inference.messages import MAX_JSON_BYTES, InferResponse
from service.open_inference.model_tensors import read_outputs, read_pictures
from service.open_inference.wire import Output, read_message, write_answer
from tests.pictures import noise
from tests.tiny_model import SIZE, metadata

METADATA = metadata()
MOST = 8
IMAGE = {"name": "image", "shape": [1, SIZE, SIZE, 3], "datatype": "UINT8"}
ENCODED = {"name": "encoded_image", "shape": [1], "datatype": "BYTES"}

pixel_batches = arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(SIZE), st.just(SIZE), st.just(3)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=4)
)


def message(*inputs: dict[str, Any], binary: bytes = b"", length: str | None = None, **fields: Any) -> tuple[bytes, str | None]:
    """A body and its Inference-Header-Content-Length."""
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return head + binary, length or (str(len(head)) if binary else None)


def triton_message(tensor: np.ndarray, name: str, datatype: str, binary: bool) -> tuple[bytes, str | None]:
    """What Triton's client writes."""
    given = triton.InferInput(name, list(tensor.shape), datatype)
    given.set_data_from_numpy(tensor, binary_data=binary)
    body, length = triton.InferenceServerClient.generate_request_body([given], request_id="mine")
    return body, None if length is None else str(length)


def pictures_of(body: bytes, length: str | None) -> list[Pixels | memoryview]:
    return read_pictures(read_message(body, length), METADATA, MOST)


@given(pixel_batches)
def test_pixels_of_tritons_client_arrive_unchanged_and_uncopied(pixels: Pixels) -> None:
    body, length = triton_message(pixels, "image", "UINT8", binary=True)
    pictures = pictures_of(body, length)
    np.testing.assert_array_equal(np.stack(pictures), pixels)
    assert np.shares_memory(pictures[0], np.frombuffer(body, dtype=np.uint8))


@pytest.mark.parametrize("nested", [False, True])
def test_pixels_as_json(nested: bool) -> None:
    pixels = np.stack([noise(1), noise(2)])
    body, length = triton_message(pixels, "image", "UINT8", binary=False)
    if nested:
        body, length = message({**IMAGE, "shape": [2, SIZE, SIZE, 3], "data": pixels.tolist()})
    np.testing.assert_array_equal(np.stack(pictures_of(body, length)), pixels)


@given(st.lists(st.binary(max_size=64), min_size=1, max_size=MOST), st.booleans())
def test_files_of_tritons_client_arrive_unchanged(files: list[bytes], as_column: bool) -> None:
    tensor = np.array(files, dtype=object)
    body, length = triton_message(tensor.reshape(-1, 1) if as_column else tensor, "encoded_image", "BYTES", binary=True)
    assert [bytes(picture) for picture in pictures_of(body, length)] == files


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4)), elements=st.floats(width=32)),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_tritons_client_reads_the_answer(values: np.ndarray, binary: tuple[bool, ...]) -> None:
    maps = np.arange(len(values) * 16, dtype=np.float32).reshape(-1, 4, 4)
    columns = {"scores": values[:, 0], "rows": values, "maps": maps}
    inferences = [Inference({name: column[row] for name, column in columns.items()}, 0.0, 0.0) for row in range(len(values))]
    outputs = [Output(name, as_binary) for name, as_binary in zip(columns, binary, strict=True)]
    answer = InferResponse(model_name="tiny", model_version="1", id="mine", outputs=())
    if any(not output.binary and not np.isfinite(columns[output.name]).all() for output in outputs):
        with pytest.raises(InferenceError, match="not finite"):
            write_answer(answer, outputs, inferences)
        return
    body, length = write_answer(answer, outputs, inferences)
    assert (length is not None) == any(binary)
    result = triton.InferResult.from_response_body(body, header_length=length)
    assert result.get_response()["id"] == "mine"
    for name, column in columns.items():
        np.testing.assert_array_equal(result.as_numpy(name), column)


@given(st.binary(max_size=200), st.none() | st.from_regex(r"[0-9-]{1,14}", fullmatch=True) | st.text(max_size=4))
def test_random_bytes_are_refused_in_words(body: bytes, length: str | None) -> None:
    with pytest.raises(ServiceError):
        read_message(body, length)


@given(
    st.sampled_from([IMAGE, ENCODED]),
    st.lists(st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, 3, SIZE, 2**62]), max_size=9),
    st.none() | json_values,
    st.none() | st.integers(-(2**70), 2**70),
    st.binary(max_size=80),
    st.none() | st.integers(-10, 10),
)
def test_mangled_messages_are_refused_in_words(
    tensor: dict[str, Any], shape: list[int], data: Any, size: int | None, binary: bytes, shift: int | None
) -> None:
    mangled = {**tensor, "shape": shape, "data": data, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [mangled]}).encode()
    length = None if shift is None else str(len(head) + shift)
    with pytest.raises(ServiceError):
        pictures_of(head + binary, length)


@given(st.binary(max_size=40))
def test_lengths_of_elements_that_lie_are_refused_in_words(binary: bytes) -> None:
    body, length = message({**ENCODED, "shape": [2], "parameters": {"binary_data_size": len(binary)}}, binary=binary)
    try:
        pictures = pictures_of(body, length)
    except ServiceError:
        return
    assert sum(4 + len(picture) for picture in pictures) == len(binary)


@pytest.mark.parametrize(
    ("length", "reason"),
    [("-1", "'-1' is not the length"), ("9999", "is not the length"), ("x", "is not the length"), ("+1", "is not the length"),
     ("٣", "is not the length"), ("", "is not the length"), ("0", "JSON"), ("3", "JSON")],
)  # fmt: skip
def test_header_length_that_lies(length: str, reason: str) -> None:
    body, _ = message({**ENCODED, "parameters": {"binary_data_size": 5}}, binary=b"\1\0\0\0x")
    with pytest.raises(MalformedBodyError, match=reason):
        read_message(body, length)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([{**ENCODED, "parameters": {"binary_data_size": 6}}], "6 bytes of binary data, but 5 are left"),
        ([{**ENCODED, "parameters": {"binary_data_size": 2**62}}], "but 5 are left"),
        ([{**ENCODED, "parameters": {"binary_data_size": 4}}], "1 bytes follow"),
        ([{**ENCODED, "parameters": {"binary_data_size": -1}}], "greater than or equal to 0"),
        ([{**ENCODED, "parameters": {"binary_data_size": True}}], "valid integer"),
        ([{**ENCODED, "parameters": {"binary_data_size": 5}, "data": ["x"]}], "either data or"),
        ([ENCODED], "either data or"),
        ([{**ENCODED, "parameters": {"binary_data_size": 5}}, {**IMAGE, "parameters": {"binary_data_size": 5}}], "0 are left"),
        ([{**ENCODED, "parameters": {"binary_data_size": 5}, "dtype": "BYTES"}], "inputs.0.dtype: Extra inputs"),
        ([{**ENCODED, "parameters": {"binary_data_size": 5}, "shape": [-1]}], "inputs.0.shape.0"),
        ([{**ENCODED, "parameters": {"binary_data_size": 5}, "shape": [1.5]}], "inputs.0.shape.0"),
        ([], "inputs: "),
        ([{**ENCODED, "parameters": {"binary_data_size": 0}}] * 17, "at most 16"),
    ],
)
def test_binary_sizes_that_do_not_add_up(inputs: list[dict[str, Any]], reason: str) -> None:
    body, length = message(*inputs, binary=b"\1\0\0\0x")
    with pytest.raises(MalformedBodyError, match=reason):
        read_message(body, length)


@pytest.mark.parametrize(
    ("inputs", "fields", "reason"),
    [
        ({"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 5}, "data": []}, {}, "shared memory"),
        ({"data": []}, {"outputs": [{"name": "joint_score", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
        ({"data": []}, {"outputs": [{"name": "joint_score", "parameters": {"classification": 3}}]}, "classification"),
        ({"data": []}, {"parameters": {"sequence_id": 7}}, "sequences"),
        ({"data": []}, {"parameters": {"sequence_id": "seven", "sequence_start": True}}, "sequences"),
    ],
)
def test_extensions_that_are_not_supported(inputs: dict[str, Any], fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedExtensionError, match=reason):
        read_message(*message({**IMAGE, **inputs}, **fields))


def test_unknown_parameters_are_ignored_as_triton_does() -> None:
    unknown = {"colour": "red", "priority": 2, "triton_enable_empty_final_response": True, "nested": {"a": [1]}}
    outputs = [{"name": "joint_score", "parameters": unknown}]
    body, length = message({**IMAGE, "parameters": unknown, "data": []}, parameters=unknown, outputs=outputs)
    assert read_message(body, length).request.parameters.timeout == 0


def test_unknown_fields_are_not() -> None:
    with pytest.raises(MalformedBodyError, match="output: Extra inputs"):
        read_message(*message({**IMAGE, "data": []}, output=[]))


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"inputs": NaN}', b'{"inputs":' + b"[" * 100_000, b'{"id": "\\ud800"}',
     b'{"inputs": [' + b"9" * 100_000 + b"]}"],
)  # fmt: skip
def test_what_is_no_message(body: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        read_message(body, None)


def test_huge_json_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TooManyBytesError, match="binary data"):
        read_message(b'{"inputs": [' + b"[]," * (MAX_JSON_BYTES // 3) + b"[]]}", None)


def test_a_million_errors_are_not_listed() -> None:
    body = json.dumps({f"{index}": 0 for index in range(100_000)}).encode()
    with pytest.raises(MalformedBodyError) as refusal:
        read_message(body, None)
    assert "100001 errors" in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_outputs_keep_the_order_asked_for_and_their_own_choice_of_form() -> None:
    asked = [
        {"name": "joint_score"},
        {"name": "anomaly_map", "parameters": {"binary_data": True}},
        {"name": "local_score", "parameters": {"binary_data": False}},
    ]
    for default in (False, True):
        body, length = message({**IMAGE, "data": []}, outputs=asked, parameters={"binary_data_output": default})
        outputs = read_outputs(read_message(body, length).request, METADATA, pictures=1)
        assert outputs == [Output("joint_score", default), Output("anomaly_map", True), Output("local_score", False)]
